//! From text to tokens to windows.

use std::borrow::Cow;

use tokenizers::Tokenizer;

use crate::error::{Error, Result};

/// A model's tokenizer, from its `tokenizer.json`.
#[derive(Debug)]
pub struct TextTokenizer {
    inner: Tokenizer,
}

impl TextTokenizer {
    /// Reads the bytes of `tokenizer.json`.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] if the bytes are no tokenizer.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        let mut inner =
            Tokenizer::from_bytes(json).map_err(|source| Error::Tokenizer { source })?;
        // A file may ask for truncation to the training length; here, text is cut into windows instead.
        inner
            .with_truncation(None)
            .map_err(|source| Error::Tokenizer { source })?;
        inner.with_padding(None);
        Ok(Self { inner })
    }

    /// The tokens of `text`, without special tokens; each of them has a row in an embedding of `vocab_size` rows.
    ///
    /// Line ends `\r\n` and `\r` are read as `\n`, as in published perplexities.
    ///
    /// # Errors
    /// [`Error::Tokenizer`]; [`Error::TokenizerMismatch`] if a token is outside the embedding.
    pub fn encode(&self, text: &str, vocab_size: usize) -> Result<Vec<u32>> {
        let encoding = self
            .inner
            .encode_fast(unify_line_ends(text).as_ref(), false)
            .map_err(|source| Error::Tokenizer { source })?;
        let tokens = encoding.get_ids().to_vec();
        match tokens.iter().max() {
            Some(&token_id) if token_id as usize >= vocab_size => Err(Error::TokenizerMismatch {
                token_id,
                vocab_size,
            }),
            _ => Ok(tokens),
        }
    }

    /// The text of `tokens`, special tokens left out.
    ///
    /// # Errors
    /// [`Error::Tokenizer`].
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        let decoded = self.inner.decode(tokens, true);
        decoded.map_err(|source| Error::Tokenizer { source })
    }
}

/// `\r\n` and `\r` as `\n`.
fn unify_line_ends(text: &str) -> Cow<'_, str> {
    if text.contains('\r') {
        Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n"))
    } else {
        Cow::Borrowed(text)
    }
}

/// Cuts `tokens` into at most `max_windows` windows of `window` tokens that do not overlap; the rest is dropped.
///
/// # Errors
/// [`Error::TextTooShort`] if there is no whole window; [`Error::WindowLength`] if a window has fewer than 2 tokens.
pub fn windows(tokens: &[u32], window: usize, max_windows: Option<usize>) -> Result<Vec<&[u32]>> {
    if window < 2 {
        return Err(Error::WindowLength {
            window,
            min: 2,
            max: usize::MAX,
        });
    }
    if tokens.len() < window {
        return Err(Error::TextTooShort {
            n_tokens: tokens.len(),
            window,
        });
    }
    Ok(tokens
        .chunks_exact(window)
        .take(max_windows.unwrap_or(usize::MAX))
        .collect())
}

/// The place of a window in its part of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At the first window of its part.
    Start,
    /// At the last window of its part.
    End,
}

/// Cuts windows as [`windows`] does, but from all over the text: one at the same `place` of each of `n_windows` equal
/// parts.
///
/// Neighbouring windows share a subject, so the same number of windows spread out covers more.
///
/// # Errors
/// As [`windows`].
pub fn spread_windows(
    tokens: &[u32],
    window: usize,
    n_windows: usize,
    place: Place,
) -> Result<Vec<&[u32]>> {
    let all = windows(tokens, window, None)?;
    let n_windows = n_windows.min(all.len());
    let start = |part: usize| (part as u128 * all.len() as u128 / n_windows as u128) as usize;
    let chosen = |part: usize| match place {
        Place::Start => start(part),
        Place::End => start(part + 1) - 1,
    };
    Ok((0..n_windows).map(|part| all[chosen(part)]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str = r#"{"version":"1.0","added_tokens":[],"normalizer":null,
        "pre_tokenizer":{"type":"Whitespace"},"post_processor":null,"decoder":null,
        "truncation":{"direction":"Right","max_length":2,"strategy":"LongestFirst","stride":0},"padding":null,
        "model":{"type":"WordLevel","vocab":{"a":0,"b":1,"c":9},"unk_token":"a"}}"#;

    #[test]
    fn encodes_the_whole_text_whatever_the_file_truncates_to() {
        let tokenizer = TextTokenizer::from_json(WORDS.as_bytes()).unwrap();
        assert_eq!(tokenizer.encode("b b a b", 2).unwrap(), [1, 1, 0, 1]);
        assert_eq!(tokenizer.encode("", 2).unwrap(), [0u32; 0]);
        assert_eq!(tokenizer.decode(&[1, 1, 0, 1]).unwrap(), "b b a b");
    }

    #[test]
    fn reads_every_line_end_alike() {
        assert_eq!(unify_line_ends("a\r\nb\rc\n"), "a\nb\nc\n");
    }

    #[test]
    fn refuses_tokens_outside_the_embedding_and_broken_files() {
        let tokenizer = TextTokenizer::from_json(WORDS.as_bytes()).unwrap();
        let refused = tokenizer.encode("a c", 9);
        assert!(matches!(
            refused,
            Err(Error::TokenizerMismatch {
                token_id: 9,
                vocab_size: 9
            })
        ));
        assert!(matches!(
            TextTokenizer::from_json(b"{}"),
            Err(Error::Tokenizer { .. })
        ));
    }

    #[test]
    fn spread_windows_come_from_all_parts() {
        let tokens: Vec<u32> = (0..21).collect();
        let firsts = |n_windows, place| -> Vec<u32> {
            let chosen = spread_windows(&tokens, 2, n_windows, place).unwrap();
            chosen.iter().map(|window| window[0]).collect()
        };
        assert_eq!(firsts(3, Place::Start), [0, 6, 12]);
        assert_eq!(firsts(3, Place::End), [4, 10, 18]);
        assert_eq!(firsts(1, Place::End), [18]);
        let all: Vec<u32> = (0..10).map(|k| 2 * k).collect();
        assert_eq!(firsts(10, Place::Start), all);
        assert_eq!(firsts(99, Place::End), all);
        assert!(firsts(0, Place::End).is_empty());
        assert!(spread_windows(&tokens, 22, 1, Place::Start).is_err());
    }

    #[test]
    fn windows_do_not_overlap_and_drop_the_rest() {
        assert_eq!(
            windows(&[1, 2, 3, 4, 5], 2, None).unwrap(),
            [&[1, 2], &[3, 4]]
        );
        assert_eq!(windows(&[1, 2, 3, 4, 5], 2, Some(1)).unwrap(), [&[1, 2]]);
        assert!(matches!(
            windows(&[1, 2], 3, None),
            Err(Error::TextTooShort {
                n_tokens: 2,
                window: 3
            })
        ));
        assert!(matches!(
            windows(&[1, 2], 1, None),
            Err(Error::WindowLength { window: 1, .. })
        ));
    }
}

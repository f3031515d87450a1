//! Small unsigned integers packed into 32-bit words, as GPTQ and AWQ store them.

use super::wrong;
use crate::TensorError;

/// A matrix of words, `[rows, cols]`, row-major.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words<'a> {
    bytes: &'a [u8],
    pub(crate) rows: usize,
    pub(crate) cols: usize,
}

impl<'a> Words<'a> {
    /// Little-endian words of an I32 tensor called `what` in messages.
    ///
    /// # Errors
    /// [`TensorError::Record`] where it is no matrix of that many bytes.
    pub(crate) fn new(
        what: &'static str,
        bytes: &'a [u8],
        shape: &[usize],
    ) -> Result<Self, TensorError> {
        let [rows, cols] = *shape else {
            return Err(wrong(what, format!("of shape {shape:?}"), "two dimensions"));
        };
        if rows.checked_mul(cols).and_then(|n| n.checked_mul(4)) != Some(bytes.len()) {
            return Err(wrong(
                what,
                format!("{} bytes", bytes.len()),
                format!("4 × {rows} × {cols}"),
            ));
        }
        Ok(Self { bytes, rows, cols })
    }

    /// The word at a place inside the matrix.
    pub(crate) fn at(&self, row: usize, col: usize) -> u32 {
        let at = (row * self.cols + col) * 4;
        let word = self.bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
        u32::from_le_bytes(word.unwrap_or_default())
    }
}

/// The group of each input column: from `g_idx`, or `group_size` columns each.
///
/// # Errors
/// [`TensorError::Record`] where a group is not below `n_groups`, or their number is not `n_in`.
pub(crate) fn groups(
    g_idx: Option<&[i32]>,
    n_in: usize,
    n_groups: usize,
) -> Result<Vec<usize>, TensorError> {
    let Some(g_idx) = g_idx else {
        if n_groups == 0 && n_in > 0 {
            return Err(wrong("number of groups", "0".into(), "at least 1"));
        }
        let group_size = n_in.div_ceil(n_groups.max(1)).max(1);
        if n_in.div_ceil(group_size) != n_groups && n_in > 0 {
            return Err(wrong(
                "number of groups",
                n_groups.to_string(),
                format!("one that divides {n_in} columns"),
            ));
        }
        return Ok((0..n_in).map(|i| i / group_size).collect());
    };
    if g_idx.len() != n_in {
        return Err(wrong(
            "length of g_idx",
            g_idx.len().to_string(),
            n_in.to_string(),
        ));
    }
    g_idx
        .iter()
        .map(|&group| {
            usize::try_from(group)
                .ok()
                .filter(|&g| g < n_groups)
                .ok_or_else(|| {
                    wrong(
                        "group in g_idx",
                        group.to_string(),
                        format!("below {n_groups}"),
                    )
                })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_checked() {
        assert_eq!(groups(None, 4, 2).unwrap(), [0, 0, 1, 1]);
        assert_eq!(groups(Some(&[1, 0, 1]), 3, 2).unwrap(), [1, 0, 1]);
        assert_eq!(groups(None, 0, 0).unwrap(), [0usize; 0]);
        groups(None, 4, 0).unwrap_err();
        groups(None, 4, 3).unwrap_err();
        groups(Some(&[0, 2]), 2, 2).unwrap_err();
        groups(Some(&[-1, 0]), 2, 2).unwrap_err();
        groups(Some(&[0]), 2, 2).unwrap_err();
    }

    #[test]
    fn words_are_little_endian() {
        let words = Words::new("x", &[1, 2, 3, 4, 5, 0, 0, 0], &[2, 1]).unwrap();
        assert_eq!((words.at(0, 0), words.at(1, 0)), (0x0403_0201, 5));
        Words::new("x", &[0; 8], &[8]).unwrap_err();
        Words::new("x", &[0; 7], &[2, 1]).unwrap_err();
    }
}

//! The members of a JSON object as places in its text, so that one can be changed and every other byte left alone.
//!
//! Going through a JSON value would respell numbers (`1e-05` as `1e-5`) and order, and would refuse what Python writes
//! and reads but JSON does not have: `NaN`, `Infinity`, a byte-order mark.

use std::ops::Range;

/// One `"key": value` of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// The key, escapes resolved.
    pub(crate) key: String,
    /// Where the key's opening quote is.
    pub(crate) start: usize,
    /// Where the value is.
    pub(crate) value: Range<usize>,
}

/// An object, at the top of a text or as a value in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    /// Right behind the opening brace.
    pub(crate) open: usize,
    pub(crate) members: Vec<Member>,
    /// The closing brace.
    pub(crate) close: usize,
}

impl Object {
    /// The members of the object that `text` is, or what is wrong with it. What is inside of values is looked at no
    /// further than to find their ends.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let mut cursor = Cursor { text, at: 0 };
        cursor.skip("\u{feff}");
        cursor.blanks();
        if !cursor.skip("{") {
            return Err("not an object");
        }
        let open = cursor.at;
        let mut members = Vec::new();
        cursor.blanks();
        while !cursor.skip("}") {
            if !members.is_empty() && !cursor.skip(",") {
                return Err("a member without a comma before it");
            }
            cursor.blanks();
            let start = cursor.at;
            let key = cursor.string().ok_or("a key that is no string")?;
            let key = serde_json::from_str(key).map_err(|_| "a key that is no string")?;
            cursor.blanks();
            if !cursor.skip(":") {
                return Err("a key without a colon");
            }
            cursor.blanks();
            let value = cursor.value().ok_or("a value without an end")?;
            members.push(Member { key, start, value });
            cursor.blanks();
        }
        let close = cursor.at - 1;
        cursor.blanks();
        match cursor.rest().is_empty() {
            true => Ok(Self {
                open,
                members,
                close,
            }),
            false => Err("text after the object"),
        }
    }

    /// The one member called `key`; where there are several, readers differ in which they take.
    pub(crate) fn member(&self, key: &str) -> Result<Option<usize>, &'static str> {
        let mut found = self
            .members
            .iter()
            .enumerate()
            .filter(|(_, m)| m.key == key);
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some((idx, _)), None) => Ok(Some(idx)),
            (Some(_), Some(_)) => Err("a key that is there twice"),
        }
    }
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn skip(&mut self, token: &str) -> bool {
        let is_there = self.rest().starts_with(token);
        if is_there {
            self.at += token.len();
        }
        is_there
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r']);
        self.at += rest.len() - trimmed.len();
    }

    /// A string with its quotes.
    fn string(&mut self) -> Option<&'a str> {
        let rest = self.rest();
        let mut is_escaped = false;
        let is_end = |(_, c): &(usize, char)| {
            let ends = *c == '"' && !is_escaped;
            is_escaped = *c == '\\' && !is_escaped;
            ends
        };
        let (end, _) = rest.strip_prefix('"')?.char_indices().find(is_end)?;
        let string = rest.get(..end + 2)?;
        self.at += string.len();
        Some(string)
    }

    /// The place of a value of any kind; brackets match, and strings end.
    fn value(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        let mut open = Vec::new();
        loop {
            match self.rest().chars().next()? {
                '"' => drop(self.string()?),
                '{' => {
                    open.push('}');
                    self.at += 1;
                }
                '[' => {
                    open.push(']');
                    self.at += 1;
                }
                c @ ('}' | ']') => {
                    if open.pop() != Some(c) {
                        return None;
                    }
                    self.at += 1;
                }
                c @ (',' | ':') if !open.is_empty() => self.at += c.len_utf8(),
                // A number or a word.
                _ => {
                    let is_in_word = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
                    let rest = self.rest();
                    let n = rest.find(|c| !is_in_word(c)).unwrap_or(rest.len());
                    if n == 0 {
                        return None;
                    }
                    self.at += n;
                }
            }
            if open.is_empty() {
                return Some(start..self.at);
            }
            self.blanks();
        }
    }
}

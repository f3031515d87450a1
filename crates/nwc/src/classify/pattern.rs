//! Patterns over tensor names: `*` stands for any run of characters, `?` for one.

use crate::{Error, Result};

/// A pattern that a whole tensor name must match; `*` crosses dots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    text: String,
    chars: Vec<char>,
}

impl Pattern {
    /// Reads a pattern; `argument` is the option that it came with.
    ///
    /// # Errors
    /// [`Error::Argument`] for an empty pattern, which could match no tensor on purpose.
    pub(crate) fn new(argument: &'static str, text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(Error::Argument {
                argument,
                found: "empty".into(),
                allowed: "a tensor's name, * for any characters, ? for one".into(),
            });
        }
        Ok(Self {
            text: text.into(),
            chars: text.chars().collect(),
        })
    }

    /// As it was given.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether the whole of `name` fits; time is at most the product of the two lengths.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let (mut at, mut in_name) = (0, 0);
        // The last star seen, and how far into the name it reaches so far.
        let mut star: Option<(usize, usize)> = None;
        while in_name < name.len() {
            match self.chars.get(at) {
                Some('*') => {
                    star = Some((at, in_name));
                    at += 1;
                }
                Some(&c) if c == '?' || Some(&c) == name.get(in_name) => {
                    at += 1;
                    in_name += 1;
                }
                _ => match &mut star {
                    Some((star_at, reach)) => {
                        *reach += 1;
                        (at, in_name) = (*star_at + 1, *reach);
                    }
                    None => return false,
                },
            }
        }
        self.chars.iter().skip(at).all(|&c| c == '*')
    }
}

/// What the user decides in place of the rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Overrides {
    keep: Vec<Pattern>,
    code: Vec<Pattern>,
}

/// What the user decided for one tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Override<'a> {
    /// Stored as it is; the pattern that said so.
    Keep(&'a str),
    /// Coded although a rule by name would keep it.
    Code,
}

impl Overrides {
    /// Reads the patterns of `--keep` and of `--code`.
    ///
    /// # Errors
    /// [`Error::Argument`] for an empty pattern.
    pub(crate) fn new(keep: &[String], code: &[String]) -> Result<Self> {
        let read = |argument, texts: &[String]| {
            texts
                .iter()
                .map(|text| Pattern::new(argument, text))
                .collect::<Result<Vec<_>>>()
        };
        Ok(Self {
            keep: read("--keep", keep)?,
            code: read("--code", code)?,
        })
    }

    /// The decision about `name`; where both options match, the tensor is kept, which loses nothing.
    pub(crate) fn of(&self, name: &str) -> Option<Override<'_>> {
        if let Some(pattern) = self.keep.iter().find(|p| p.matches(name)) {
            return Some(Override::Keep(pattern.text()));
        }
        let is_coded = self.code.iter().any(|p| p.matches(name));
        is_coded.then_some(Override::Code)
    }

    /// Checks that every pattern matches one of `names`: one that does not is a slip of the pen.
    ///
    /// # Errors
    /// [`Error::Argument`] with the pattern.
    pub(crate) fn check_used<'n>(
        &self,
        names: impl Iterator<Item = &'n str> + Clone,
    ) -> Result<()> {
        let options = [("--keep", &self.keep), ("--code", &self.code)];
        for (argument, patterns) in options {
            for pattern in patterns {
                if !names.clone().any(|name| pattern.matches(name)) {
                    return Err(Error::Argument {
                        argument,
                        found: format!("{}, which matches no tensor", pattern.text()),
                        allowed: "a pattern that matches at least one".into(),
                    });
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, name: &str, expected: bool) {
        let pattern = Pattern::new("--keep", pattern).unwrap();
        assert_eq!(pattern.matches(name), expected, "{} {name}", pattern.text());
    }

    #[test]
    fn stars_and_question_marks() {
        check("lm_head.weight", "lm_head.weight", true);
        check("lm_head", "lm_head.weight", false);
        check("*", "", true);
        check("*.mlp.*", "model.layers.0.mlp.up_proj.weight", true);
        check("model.layers.?.*", "model.layers.7.x", true);
        check("model.layers.?.*", "model.layers.17.x", false);
        check("*a*b", "xaab_ab", true);
        check("*a*b", "xaab_abc", false);
        check("größe?", "größe模", true);
        check("**x**", "x", true);
        check("?", "", false);
    }

    #[test]
    fn a_hard_pattern_takes_no_exponential_time() {
        let pattern = "a*".repeat(200) + "b";
        check(&pattern, &"a".repeat(5000), false);
    }

    #[test]
    fn keeping_wins_and_unused_patterns_are_refused() {
        let overrides = Overrides::new(&["*.gate.*".into()], &["*".into()]).unwrap();
        assert_eq!(
            overrides.of("mlp.gate.weight"),
            Some(Override::Keep("*.gate.*"))
        );
        assert_eq!(overrides.of("lora_A"), Some(Override::Code));
        overrides.check_used(["a.gate.b"].into_iter()).unwrap();
        let error = overrides.check_used(["x"].into_iter()).unwrap_err();
        assert!(error.to_string().contains("--keep is *.gate.*"), "{error}");
        assert!(Overrides::new(&[String::new()], &[]).is_err());
    }
}

//! `--where field=value`: which users take part in a pass, decided by Firestore.

use std::fmt;
use std::iter::Peekable;
use std::str::Chars;

/// Most conditions on one query. Firestore takes more, a person has no use for them.
const MAX_CONDITIONS: usize = 30;

/// Longest name of a field that Firestore takes, in bytes.
const MAX_NAME_BYTES: usize = 1500;

/// Why a text is no condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidCondition {
    /// Nothing but blanks.
    #[error("it is empty")]
    Empty,
    /// There is no `=`, or it is quoted.
    #[error("it is not of the form field=value")]
    NoEqualsSign,
    /// The field's path is none.
    #[error("{0:?} is no field path: letters, digits and _, or anything in backquotes, with dots between")]
    Path(String),
    /// Firestore keeps `__…__` for itself.
    #[error("Firestore reserves the field {0:?}")]
    Reserved(String),
    /// Nothing after the `=`.
    #[error("it has no value: write \"\" for an empty text")]
    NoValue,
    /// A quote that is not closed, or that has something before or after it.
    #[error("its quotes do not enclose one whole value")]
    Quotes,
    /// A whole number that Firestore cannot hold.
    #[error("{0} is too large a number: write it in quotes if it is a text")]
    TooLarge(String),
    /// More of them than make sense.
    #[error("there are more than {MAX_CONDITIONS} conditions")]
    TooMany,
}

/// The users that take part: those whose documents have all of these values. Everybody by default.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct UserFilter(Vec<Condition>);

#[derive(Clone, Debug, PartialEq)]
struct Condition {
    /// As Firestore reads it, backquotes included.
    path: String,
    value: Constant,
}

/// What a field is compared to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Constant {
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Double(f64),
    /// Anything else, or anything in quotes.
    Text(String),
}

impl UserFilter {
    /// Reads conditions with commas between; commas in quotes and backquotes are part of the condition.
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidCondition> {
        let conditions = split(text).map(condition).collect::<Result<Vec<_>, _>>()?;
        Self(conditions).checked()
    }

    /// Both filters at once.
    pub(crate) fn and(mut self, other: Self) -> Result<Self, InvalidCondition> {
        self.0.extend(other.0);
        self.checked()
    }

    fn checked(self) -> Result<Self, InvalidCondition> {
        if self.0.len() > MAX_CONDITIONS { Err(InvalidCondition::TooMany) } else { Ok(self) }
    }

    /// Whether it lets everybody through.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each condition: a field's path as Firestore reads it, backquotes included, and what it has to be.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = (&str, &Constant)> {
        self.0.iter().map(|condition| (condition.path.as_str(), &condition.value))
    }
}

impl fmt::Display for UserFilter {
    /// As it could be given again, with texts in quotes so that they are told from what only looks alike.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, Condition { path, value }) in self.0.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            write!(f, "{comma}{path}=")?;
            match value {
                Constant::Null => write!(f, "null")?,
                Constant::Boolean(switch) => write!(f, "{switch}")?,
                Constant::Integer(number) => write!(f, "{number}")?,
                Constant::Double(number) => write!(f, "{number:?}")?,
                Constant::Text(text) => write!(f, "{}", serde_json::json!(text))?,
            }
        }
        Ok(())
    }
}

/// The parts between the commas that are not quoted.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut quotes = Quotes::default();
    text.split(move |c| quotes.is_outside(c) && c == ',')
}

fn condition(text: &str) -> Result<Condition, InvalidCondition> {
    let text = text.trim();
    if text.is_empty() {
        return Err(InvalidCondition::Empty);
    }
    let mut quotes = Quotes::default();
    let equals_sign = text.find(|c| quotes.is_outside(c) && c == '=');
    let (path, value) =
        equals_sign.map(|at| (&text[..at], &text[at + 1..])).ok_or(InvalidCondition::NoEqualsSign)?;
    Ok(Condition { path: field_path(path.trim())?, value: constant(value.trim())? })
}

/// Which part of a text is quoted, character by character.
#[derive(Default)]
struct Quotes {
    open: Option<char>,
    escaped: bool,
}

impl Quotes {
    fn is_outside(&mut self, c: char) -> bool {
        match self.open {
            Some(_) if self.escaped => self.escaped = false,
            Some(_) if c == '\\' => self.escaped = true,
            Some(open) if c == open => self.open = None,
            Some(_) => {}
            None if c == '"' || c == '`' => self.open = Some(c),
            None => return true,
        }
        false
    }
}

/// Checks a field path, and leaves it in Firestore's own spelling.
fn field_path(path: &str) -> Result<String, InvalidCondition> {
    let malformed = || InvalidCondition::Path(path.to_owned());
    let mut rest = path.chars().peekable();
    loop {
        let name = match rest.peek() {
            Some('`') => quoted_name(&mut rest),
            _ => simple_name(&mut rest),
        };
        let name = name.filter(|name| name.len() <= MAX_NAME_BYTES).ok_or_else(malformed)?;
        if name.starts_with("__") && name.ends_with("__") {
            return Err(InvalidCondition::Reserved(name));
        }
        match rest.next() {
            None => return Ok(path.to_owned()),
            Some('.') => {}
            Some(_) => return Err(malformed()),
        }
    }
}

/// Letters, digits and underscores, no digit first.
fn simple_name(rest: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut name = String::new();
    while let Some(c) = rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
        name.push(c);
    }
    name.starts_with(|c: char| !c.is_ascii_digit()).then_some(name)
}

/// Anything between backquotes; a backslash stands before a backquote or a backslash that is part of it.
fn quoted_name(rest: &mut Peekable<Chars<'_>>) -> Option<String> {
    rest.next_if_eq(&'`')?;
    let mut name = String::new();
    loop {
        match rest.next()? {
            '`' => return (!name.is_empty()).then_some(name),
            '\\' => name.push(rest.next_if(|c| matches!(c, '`' | '\\'))?),
            c => name.push(c),
        }
    }
}

/// A constant as JSON has it, and any other text as itself. Firestore compares numbers by their value:
/// 1 equals 1.0.
fn constant(value: &str) -> Result<Constant, InvalidCondition> {
    use serde_json::Value as Json;
    if value.is_empty() {
        return Err(InvalidCondition::NoValue);
    }
    match serde_json::from_str(value) {
        Ok(Json::Null) => Ok(Constant::Null),
        Ok(Json::Bool(switch)) => Ok(Constant::Boolean(switch)),
        Ok(Json::String(string)) => Ok(Constant::Text(string)),
        // The standard library finds the nearest double, serde_json not always.
        Ok(Json::Number(number)) => match (number.as_i64(), value.parse()) {
            (Some(number), _) => Ok(Constant::Integer(number)),
            (None, Ok(number)) if value.contains(['.', 'e', 'E']) => Ok(Constant::Double(number)),
            _ => Err(InvalidCondition::TooLarge(value.to_owned())),
        },
        _ if value.contains(['"', '`']) => Err(InvalidCondition::Quotes),
        _ => Ok(Constant::Text(value.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::Constant::{Boolean, Double, Integer, Null};
    use super::*;
    use proptest::prelude::*;

    fn text(text: impl Into<String>) -> Constant {
        Constant::Text(text.into())
    }

    fn parsed(text: &str) -> Vec<(String, Constant)> {
        let filter = UserFilter::parse(text).unwrap_or_else(|err| panic!("{text}: {err}"));
        filter.0.into_iter().map(|condition| (condition.path, condition.value)).collect()
    }

    fn refused(text: &str) -> InvalidCondition {
        UserFilter::parse(text).expect_err(text)
    }

    #[test]
    fn a_value_is_what_it_looks_like() {
        for (spelled, value) in [
            ("true", Boolean(true)),
            ("false", Boolean(false)),
            ("null", Null),
            ("7", Integer(7)),
            ("-7", Integer(-7)),
            ("9223372036854775807", Integer(i64::MAX)),
            ("1.50", Double(1.5)),
            ("1e3", Double(1000.0)),
            ("pro", text("pro")),
            ("True", text("True")),
            ("007", text("007")),
            ("+1", text("+1")),
            ("a=b", text("a=b")),
            ("it's", text("it's")),
            ("[1]", text("[1]")),
            ("2026-01-05", text("2026-01-05")),
            (r#""true""#, text("true")),
            (r#""""#, text("")),
            (r#""a,b=c""#, text("a,b=c")),
            (r#""a\"b\\""#, text(r#"a"b\"#)),
            ("größe", text("größe")),
        ] {
            assert_eq!(parsed(&format!("plan={spelled}")), [("plan".to_owned(), value)], "{spelled}");
        }
    }

    #[test]
    fn a_field_is_a_path_in_firestores_spelling() {
        for path in ["a", "_a1", "a.b.c", "`a b`", "a.`b.c`", r"`a\`b\\`", "`a=b,c`", "`größe`", "`7`"] {
            assert_eq!(parsed(&format!("{path}=1")), [(path.to_owned(), Integer(1))]);
        }
        for path in ["", ".", "a.", ".a", "a..b", "7a", "a b", "a-b", "größe", "``", "`a`b", "a`b`", r"`a\b`"]
        {
            assert_eq!(refused(&format!("{path}=1")), InvalidCondition::Path(path.to_owned()));
        }
        for path in ["__name__", "a.__b__", "`__a__`"] {
            assert!(matches!(refused(&format!("{path}=1")), InvalidCondition::Reserved(_)), "{path}");
        }
        assert!(matches!(refused(&format!("{}=1", "a".repeat(1501))), InvalidCondition::Path(_)));
    }

    #[test]
    fn commas_separate_conditions_unless_they_are_quoted() {
        let both = parsed(r#" a = 1 , b="x, y",`c,d`=z "#);
        let expected = [("a", Integer(1)), ("b", text("x, y")), ("`c,d`", text("z"))];
        assert_eq!(both, expected.map(|(path, value)| (path.to_owned(), value)));
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for text in ["", " ", ",", "a=1,", ",a=1", "a=1,,b=2"] {
            assert_eq!(refused(text), InvalidCondition::Empty, "{text:?}");
        }
        for text in ["a", "`a=1", r#""a"="1"#] {
            assert!(
                matches!(refused(text), InvalidCondition::NoEqualsSign | InvalidCondition::Path(_)),
                "{text:?}"
            );
        }
        assert_eq!(refused("a="), InvalidCondition::NoValue);
        for text in [r#"a="x"#, r#"a=x""#, r#"a="x"y"#, r#"a="x\q""#, "a=`x`"] {
            assert_eq!(refused(text), InvalidCondition::Quotes, "{text:?}");
        }
        assert!(matches!(refused("a=9223372036854775808"), InvalidCondition::TooLarge(_)));
        assert_eq!(refused(&vec!["a=1"; 31].join(",")), InvalidCondition::TooMany);
        let half = UserFilter::parse(&vec!["a=1"; 16].join(",")).expect("usable");
        assert_eq!(half.clone().and(half), Err(InvalidCondition::TooMany));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}|[a=,.`\"\\\\0-9e-]{0,40}") {
            let _ = UserFilter::parse(&text);
        }

        #[test]
        fn any_text_can_be_asked_for_in_quotes(name in "\\PC{1,20}", value in any::<String>()) {
            prop_assume!(!(name.starts_with("__") && name.ends_with("__")));
            let path = format!("`{}`", name.replace('\\', r"\\").replace('`', r"\`"));
            let quoted = serde_json::to_string(&value).expect("a text is JSON");
            let twice = format!("{path}={quoted},{path}={quoted}");
            let condition = (path, text(value));
            prop_assert_eq!(parsed(&twice), [condition.clone(), condition]);
        }

        #[test]
        fn what_is_shown_can_be_given_again(value in any::<String>(), decimal in -1e300..1e300_f64, whole: i64) {
            let quoted = serde_json::to_string(&value).expect("a text is JSON");
            let given = format!("`a b`={quoted},c.d={decimal:?}, e={whole},f=true,g=null,h=pro");
            let filter = UserFilter::parse(&given).expect("usable");
            prop_assert_eq!(UserFilter::parse(&filter.to_string()), Ok(filter));
        }

        #[test]
        fn numbers_keep_their_value(whole: i64, decimal in -1e300..1e300_f64) {
            prop_assert_eq!(parsed(&format!("a={whole}")), [("a".to_owned(), Integer(whole))]);
            prop_assert_eq!(parsed(&format!("a={decimal:?}")), [("a".to_owned(), Double(decimal))]);
        }
    }
}

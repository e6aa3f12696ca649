// SPDX-License-Identifier: Apache-2.0
//! What values a setting takes.

use std::fmt;

/// See the module. Numbers stand between bounds, both included.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Bool,
    Short(i64, i64),
    Int(i64, i64),
    Long(i64, i64),
    Double(f64, f64),
    /// -1, or 1 to 9.
    GzipLevel,
    Word,
    OneOf(&'static [&'static str]),
    /// Where a share group begins: a word, or how far back.
    OffsetReset,
    List,
    /// Any of them.
    ListOf(&'static [&'static str]),
    /// `partition:broker`, or `*` for all.
    Replicas,
    Class,
    Password,
}

pub const SHORT: i64 = i16::MAX as i64;
pub const INT: i64 = i32::MAX as i64;
pub const LONG: i64 = i64::MAX;

impl Kind {
    /// The protocol's number for its type.
    pub fn number(self) -> i8 {
        match self {
            Kind::Bool => 1,
            Kind::Word | Kind::OneOf(_) | Kind::OffsetReset => 2,
            Kind::Int(..) | Kind::GzipLevel => 3,
            Kind::Short(..) => 4,
            Kind::Long(..) => 5,
            Kind::Double(..) => 6,
            Kind::List | Kind::ListOf(_) | Kind::Replicas => 7,
            Kind::Class => 8,
            Kind::Password => 9,
        }
    }

    /// Whether values can be appended and taken away.
    pub fn is_list(self) -> bool {
        matches!(self, Kind::List | Kind::ListOf(_) | Kind::Replicas)
    }

    /// Whether it takes this value. White space around values does not count.
    pub fn takes(self, value: &str) -> bool {
        let value = value.trim();
        match self {
            Kind::Bool => value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false"),
            Kind::Short(min, max) | Kind::Int(min, max) | Kind::Long(min, max) => {
                value.parse::<i64>().is_ok_and(|number| (min..=max).contains(&number))
            }
            Kind::Double(min, max) => value.parse::<f64>().is_ok_and(|number| (min..=max).contains(&number)),
            Kind::GzipLevel => value.parse::<i64>().is_ok_and(|level| level == -1 || (1..=9).contains(&level)),
            Kind::OneOf(words) => words.contains(&value),
            Kind::OffsetReset => is_offset_reset(value),
            Kind::ListOf(words) => items(value).all(|word| words.contains(&word)),
            Kind::Replicas => value == "*" || items(value).all(is_replica),
            Kind::Word | Kind::List | Kind::Class | Kind::Password => true,
        }
    }
}

/// The items of a list; an empty text is the empty list.
pub fn items(list: &str) -> impl Iterator<Item = &str> {
    let list = list.trim();
    list.split(',').map(str::trim).filter(move |_| !list.is_empty())
}

fn is_replica(item: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    item.split_once(':').is_some_and(|(partition, broker)| is_number(partition) && is_number(broker))
}

/// `latest`, `earliest`, or `by_duration:` and a duration like `P1DT2H3.5S`.
fn is_offset_reset(value: &str) -> bool {
    if matches!(value, "latest" | "earliest") {
        return true;
    }
    let Some(duration) = value.strip_prefix("by_duration:").and_then(|duration| duration.strip_prefix('P')) else {
        return false;
    };
    let (days, time) = duration.split_once('T').map_or((duration, None), |(days, time)| (days, Some(time)));
    let is_amount = |text: &str| text.parse::<f64>().is_ok_and(|amount| amount >= 0.0 && amount.is_finite());
    let days_fit = days.is_empty() || days.strip_suffix('D').is_some_and(is_amount);
    let time_fits = time.is_none_or(|time| {
        let mut pieces = time.split_inclusive(['H', 'M', 'S']).peekable();
        pieces.peek().is_some() && pieces.all(|piece| is_amount(piece.trim_end_matches(['H', 'M', 'S'])))
    });
    days_fit && time_fits && !duration.is_empty()
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Bool => f.write_str("true or false"),
            Kind::Long(i64::MIN, LONG) => f.write_str("a whole number"),
            Kind::Short(min, SHORT) | Kind::Int(min, INT) | Kind::Long(min, LONG) => {
                write!(f, "a whole number from {min}")
            }
            Kind::Short(min, max) | Kind::Int(min, max) | Kind::Long(min, max) => {
                write!(f, "a whole number from {min} to {max}")
            }
            Kind::Double(f64::MIN, _) => f.write_str("a number"),
            Kind::Double(min, max) => write!(f, "a number from {min} to {max}"),
            Kind::GzipLevel => f.write_str("-1, or a whole number from 1 to 9"),
            Kind::Word => f.write_str("text"),
            Kind::OneOf(words) => write!(f, "one of {}", words.join(", ")),
            Kind::OffsetReset => f.write_str("latest, earliest, or by_duration: with a duration like PT1H"),
            Kind::List => f.write_str("a list"),
            Kind::ListOf(words) => write!(f, "a list of {}", words.join(", ")),
            Kind::Replicas => f.write_str("* or a list of partition:broker"),
            Kind::Class => f.write_str("the name of a class"),
            Kind::Password => f.write_str("a secret"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_the_wrong_type_is_not_taken() {
        let wrong = [
            (Kind::Bool, "yes"),
            (Kind::Int(0, INT), "2147483648"),
            (Kind::Int(0, INT), "-1"),
            (Kind::Int(0, INT), "1.5"),
            (Kind::Int(0, INT), ""),
            (Kind::Long(0, LONG), "9223372036854775808"),
            (Kind::Short(0, SHORT), "32768"),
            (Kind::Double(0.0, 1.0), "1.1"),
            (Kind::Double(0.0, 1.0), "NaN"),
            (Kind::Double(0.0, 1.0), "half"),
            (Kind::GzipLevel, "0"),
            (Kind::OneOf(&["a", "b"]), "c"),
            (Kind::ListOf(&["a", "b"]), "a,c"),
            (Kind::ListOf(&["a", "b"]), "a,"),
            (Kind::Replicas, "1:"),
            (Kind::Replicas, "1:2,3"),
            (Kind::OffsetReset, "by_duration:"),
            (Kind::OffsetReset, "by_duration:P"),
            (Kind::OffsetReset, "by_duration:PT"),
            (Kind::OffsetReset, "by_duration:1h"),
            (Kind::OffsetReset, "newest"),
        ];
        for (kind, value) in wrong {
            assert!(!kind.takes(value), "{kind:?} takes {value:?}");
        }
    }

    #[test]
    fn a_value_of_the_right_type_is_taken() {
        let right = [
            (Kind::Bool, "TRUE"),
            (Kind::Int(0, INT), " 7 "),
            (Kind::Double(0.0, 1.0), "0.5"),
            (Kind::GzipLevel, "-1"),
            (Kind::ListOf(&["a", "b"]), "b, a"),
            (Kind::ListOf(&["a", "b"]), ""),
            (Kind::Replicas, "*"),
            (Kind::Replicas, "0:1,1:1"),
            (Kind::OffsetReset, "by_duration:P1DT2H3.5S"),
        ];
        for (kind, value) in right {
            assert!(kind.takes(value), "{kind:?} takes {value:?}");
        }
    }
}

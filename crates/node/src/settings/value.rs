// SPDX-License-Identifier: Apache-2.0
//! What a setting may hold, and how its text is read and written.
//!
//! Owns: the kinds of settings with their ranges, units, and the messages for text that does not fit.
//! Must not know: which settings there are, or where their text came from.
//!
//! Sizes and times carry a unit ("64MiB", "5s"): a bare number is refused, because nobody remembers whether it was seconds. Zero
//! needs none.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};

/// What a setting may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A size in bytes.
    Size { min: u64, max: u64 },
    /// A size in bytes, or `auto`.
    SizeOrAuto { min: u64, max: u64 },
    /// A time in milliseconds.
    Time { min_ms: u64, max_ms: u64 },
    /// A whole number.
    Count { min: u64, max: u64 },
    /// A whole number, or `auto`.
    CountOrAuto { min: u64, max: u64 },
    /// `true` or `false`.
    Switch,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A host and a port to listen on.
    Address,
    /// A host, or a host and a port, under which clients reach this node; empty means "as bound".
    Host,
    /// A file or directory.
    Path,
}

/// What a setting holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Number(u64),
    Auto,
    Switch(bool),
    Text(String),
    Address(SocketAddr),
}

impl Kind {
    /// The unit, as a word for a table.
    pub fn unit(self) -> &'static str {
        match self {
            Kind::Size { .. } | Kind::SizeOrAuto { .. } => "size",
            Kind::Time { .. } => "time",
            Kind::Count { .. } | Kind::CountOrAuto { .. } => "number",
            Kind::Switch => "switch",
            Kind::Choice(_) => "word",
            Kind::Address => "host:port",
            Kind::Host => "host[:port]",
            Kind::Path => "path",
        }
    }

    /// What is allowed, for a person.
    pub fn range(self) -> String {
        match self {
            Kind::Size { min, max } => format!("{} to {}", Size(min), Size(max)),
            Kind::SizeOrAuto { min, max } => format!("auto, or {} to {}", Size(min), Size(max)),
            Kind::Time { min_ms, max_ms } => format!("{} to {}", Millis(min_ms), Millis(max_ms)),
            Kind::Count { min, max } => format!("{min} to {max}"),
            Kind::CountOrAuto { min, max } => format!("auto, or {min} to {max}"),
            Kind::Switch => "true or false".to_owned(),
            Kind::Choice(words) => words.join(" or "),
            Kind::Address => "such as 127.0.0.1:9092; port 0 takes a free one".to_owned(),
            Kind::Host => "such as broker.example or broker.example:9092".to_owned(),
            Kind::Path => "any".to_owned(),
        }
    }

    /// Reads a value.
    ///
    /// # Errors
    /// Why the text does not fit, as the rest of a sentence that begins with the setting's name.
    pub fn read(self, text: &str) -> Result<Value, String> {
        let text = text.trim();
        match self {
            Kind::SizeOrAuto { .. } | Kind::CountOrAuto { .. } if text == "auto" => Ok(Value::Auto),
            Kind::Size { min, max } | Kind::SizeOrAuto { min, max } => {
                let bytes = read_with_unit(text, &SIZE_UNITS, "a size", "64MiB")?;
                self.within(bytes, min, max)
            }
            Kind::Time { min_ms, max_ms } => {
                let ms = read_with_unit(text, &TIME_UNITS, "a time", "5s")?;
                self.within(ms, min_ms, max_ms)
            }
            Kind::Count { min, max } | Kind::CountOrAuto { min, max } => {
                let count =
                    text.parse().map_err(|_| format!("must be a whole number ({}), not {text:?}", self.range()))?;
                self.within(count, min, max)
            }
            Kind::Switch => match text {
                "true" => Ok(Value::Switch(true)),
                "false" => Ok(Value::Switch(false)),
                _ => Err(format!("must be true or false, not {text:?}")),
            },
            Kind::Choice(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
            Kind::Choice(_) => Err(format!("must be {}, not {text:?}", self.range())),
            Kind::Address => read_address(text).map(Value::Address),
            Kind::Host if text.is_empty() => Ok(Value::Text(String::new())),
            Kind::Host => read_host(text).map(|_| Value::Text(text.to_owned())),
            Kind::Path if text.is_empty() => Err("must not be empty".to_owned()),
            Kind::Path => Ok(Value::Text(text.to_owned())),
        }
    }

    fn within(self, number: u64, min: u64, max: u64) -> Result<Value, String> {
        if (min..=max).contains(&number) {
            Ok(Value::Number(number))
        } else {
            Err(format!("is out of range: allowed is {}", self.range()))
        }
    }

    /// Writes a value the way it would be read.
    pub fn write(self, value: &Value) -> String {
        match (self, value) {
            (_, Value::Auto) => "auto".to_owned(),
            (Kind::Size { .. } | Kind::SizeOrAuto { .. }, Value::Number(bytes)) => Size(*bytes).to_string(),
            (Kind::Time { .. }, Value::Number(ms)) => Millis(*ms).to_string(),
            (_, Value::Number(number)) => number.to_string(),
            (_, Value::Switch(on)) => on.to_string(),
            (_, Value::Text(text)) => text.clone(),
            (_, Value::Address(address)) => address.to_string(),
        }
    }
}

type Units = [(&'static str, u64)];

const SIZE_UNITS: [(&str, u64); 8] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

const TIME_UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

fn read_with_unit(text: &str, units: &Units, what: &str, example: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let names = || units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let number: u64 = match number.parse() {
        Ok(number) => number,
        Err(_) => return Err(format!("must be {what} such as {example:?}, not {text:?}")),
    };
    if unit.is_empty() {
        return if number == 0 { Ok(0) } else { Err(format!("needs a unit ({}), such as {example:?}", names())) };
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(format!("has the unknown unit {unit:?}: use one of {}", names()));
    };
    number.checked_mul(*factor).ok_or_else(|| "is too large".to_owned())
}

fn read_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let example = "must be a host and a port, such as 127.0.0.1:9092";
    let Some((host, port)) = text.rsplit_once(':') else { return Err(format!("{example}, not {text:?}")) };
    if host.is_empty() || port.parse::<u16>().is_err() {
        return Err(format!("{example}, not {text:?}"));
    }
    let mut addresses = text.to_socket_addrs().map_err(|error| format!("cannot be resolved: {text:?}: {error}"))?;
    addresses.next().ok_or_else(|| format!("cannot be resolved: {text:?} has no address"))
}

/// Splits `host` or `host:port`; an IPv6 address with a port stands in brackets.
///
/// # Errors
/// The rest of a sentence.
pub fn read_host(text: &str) -> Result<(String, Option<u16>), String> {
    let wrong = || format!("must be a host or host:port under which clients reach this node, not {text:?}");
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return Err(wrong()),
        }
    } else if text.matches(':').count() > 1 {
        (text, None)
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let letters_fit = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_' | ':' | '%');
    if host.is_empty() || host.len() > 255 || !host.chars().all(letters_fit) {
        return Err(wrong());
    }
    match port.map(str::parse::<u16>) {
        None => Ok((host.to_owned(), None)),
        Some(Ok(port)) if port > 0 => Ok((host.to_owned(), Some(port))),
        Some(_) => Err(wrong()),
    }
}

/// A size, written in the largest unit that needs no fraction.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_unit(f, self.0, &SIZE_UNITS[..5])
    }
}

/// A time, written in the largest unit that needs no fraction.
struct Millis(u64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_unit(f, self.0, &TIME_UNITS)
    }
}

fn write_with_unit(f: &mut fmt::Formatter<'_>, number: u64, units: &Units) -> fmt::Result {
    let fits = |factor: u64| number.is_multiple_of(factor);
    let (name, factor) = units.iter().rev().find(|(_, factor)| fits(*factor)).copied().unwrap_or(units[0]);
    if number == 0 { f.write_str("0") } else { write!(f, "{}{name}", number / factor) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Kind = Kind::Size { min: 1024, max: 1 << 40 };
    const TIME: Kind = Kind::Time { min_ms: 1, max_ms: 86_400_000 };

    #[test]
    fn sizes_and_times_are_read_with_their_units_and_written_back() {
        for (text, bytes) in [("64MiB", 64 << 20), ("1 KiB", 1024), ("2GB", 2_000_000_000), ("1536B", 1536)] {
            assert_eq!(SIZE.read(text), Ok(Value::Number(bytes)), "{text}");
        }
        for (text, ms) in [("5s", 5_000), ("1500ms", 1_500), ("24h", 86_400_000), ("2m", 120_000)] {
            assert_eq!(TIME.read(text), Ok(Value::Number(ms)), "{text}");
        }
        assert_eq!(SIZE.write(&Value::Number(64 << 20)), "64MiB");
        assert_eq!(SIZE.write(&Value::Number(1536)), "1536B");
        assert_eq!(TIME.write(&Value::Number(1_500)), "1500ms");
        assert_eq!(TIME.write(&Value::Number(86_400_000)), "1d");
    }

    #[test]
    fn a_value_that_does_not_fit_says_what_would() {
        let why = |kind: Kind, text: &str| kind.read(text).unwrap_err();
        assert_eq!(why(SIZE, "64"), "needs a unit (B, KiB, MiB, GiB, TiB, kB, MB, GB), such as \"64MiB\"");
        assert_eq!(why(SIZE, "64mib"), "has the unknown unit \"mib\": use one of B, KiB, MiB, GiB, TiB, kB, MB, GB");
        assert_eq!(why(SIZE, "much"), "must be a size such as \"64MiB\", not \"much\"");
        assert_eq!(why(SIZE, "1B"), "is out of range: allowed is 1KiB to 1TiB");
        assert_eq!(why(SIZE, "99999999TiB"), "is too large");
        assert_eq!(why(TIME, "0"), "is out of range: allowed is 1ms to 1d");
        assert_eq!(why(Kind::Count { min: 1, max: 9 }, "ten"), "must be a whole number (1 to 9), not \"ten\"");
        assert_eq!(why(Kind::Choice(&["text", "json"]), "xml"), "must be text or json, not \"xml\"");
        assert_eq!(why(Kind::Switch, "yes"), "must be true or false, not \"yes\"");
        assert_eq!(why(Kind::Address, "9092"), "must be a host and a port, such as 127.0.0.1:9092, not \"9092\"");
    }

    #[test]
    fn hosts_are_split_from_their_ports() {
        let read = |text: &str| read_host(text).ok();
        assert_eq!(read("broker.example"), Some(("broker.example".into(), None)));
        assert_eq!(read("broker.example:19092"), Some(("broker.example".into(), Some(19092))));
        assert_eq!(read("::1"), Some(("::1".into(), None)));
        assert_eq!(read("[::1]:9092"), Some(("::1".into(), Some(9092))));
        for wrong in ["", ":9092", "host:", "host:0", "host:99999", "two words", "[::1", "[::1]x"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}

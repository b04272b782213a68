//! Times as people write them in the configuration: `07:30`, `22:00-07:00`, `10m`, `1h30m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::civil::Time;
use serde::Deserialize;

/// The shortest span that may be asked for.
const SHORTEST: Duration = Duration::from_secs(1);
/// The longest: a week.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A part of the day, which may go past midnight. Its end is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Between {
    /// When it begins.
    pub from: Time,
    /// When it is over.
    pub until: Time,
}

impl Between {
    /// Whether a time of day is in it. What ends when it begins is the whole day.
    pub fn contains(&self, time: Time) -> bool {
        if self.from < self.until {
            (self.from..self.until).contains(&time)
        } else {
            time >= self.from || time < self.until
        }
    }
}

impl fmt::Display for Between {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.from.strftime("%H:%M"), self.until.strftime("%H:%M"))
    }
}

impl FromStr for Between {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no part of the day; write it as 07:00-22:30");
        let (from, until) = text.split_once('-').ok_or_else(wrong)?;
        let time = |text: &str| time(text.trim()).ok_or_else(wrong);
        Ok(Self { from: time(from)?, until: time(until)? })
    }
}

impl TryFrom<String> for Between {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// `hours:minutes`; 24:00 is midnight.
fn time(text: &str) -> Option<Time> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    let (true, true) = (two(hours), two(minutes)) else { return None };
    let [hours, minutes]: [i8; 2] = [hours.parse().ok()?, minutes.parse().ok()?];
    let hours = if (hours, minutes) == (24, 0) { 0 } else { hours };
    Time::new(hours, minutes, 0, 0).ok()
}

/// A span of time: days, hours, minutes and seconds, such as `10m` or `1h30m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("'{text}' is no span of time from 1s to 7d; write it as 10m or 1h30m");
        let mut seconds = 0u64;
        let mut rest = text.trim();
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
            let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
            let mut unit = rest[digits..].chars();
            let scale = match unit.next() {
                Some('s') => 1,
                Some('m') => 60,
                Some('h') => 60 * 60,
                Some('d') => 24 * 60 * 60,
                _ => return Err(wrong()),
            };
            let part = number.checked_mul(scale).ok_or_else(wrong)?;
            seconds = seconds.checked_add(part).ok_or_else(wrong)?;
            rest = unit.as_str();
        }
        let span = Duration::from_secs(seconds);
        (SHORTEST..=LONGEST).contains(&span).then_some(Self(span)).ok_or_else(wrong)
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Time {
        time(text).unwrap()
    }

    #[test]
    fn a_part_of_the_day_may_go_past_midnight() {
        let night: Between = "22:00-07:00".parse().unwrap();
        for (time, inside) in
            [("21:59", false), ("22:00", true), ("00:00", true), ("06:59", true), ("07:00", false)]
        {
            assert_eq!(night.contains(at(time)), inside, "{time}");
        }
        let day: Between = "07:00 - 24:00".parse().unwrap();
        assert!(day.contains(at("23:59")) && !day.contains(at("06:59")));
        assert_eq!(day.to_string(), "07:00-00:00");
        let always: Between = "00:00-00:00".parse().unwrap();
        assert!(always.contains(at("00:00")) && always.contains(at("12:00")));
    }

    #[test]
    fn spans_are_sums_of_their_parts() {
        for (text, seconds) in
            [("1s", 1), ("10m", 600), ("1h30m", 5400), ("7d", 604_800), (" 90s ", 90)]
        {
            assert_eq!(text.parse(), Ok(Span(Duration::from_secs(seconds))), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_answered_with_how_to_write_one() {
        for text in ["", "10", "m", "-1m", "1.5h", "0s", "8d", "1 h", "99999999999999999999d"] {
            assert!(text.parse::<Span>().unwrap_err().contains("10m"), "{text}");
        }
        for text in ["", "7-9", "07:00", "07:00-25:00", "7:00-9:00", "07:60-08:00", "24:01-01:00"] {
            assert!(text.parse::<Between>().unwrap_err().contains("07:00-22:30"), "{text}");
        }
    }
}

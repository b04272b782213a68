//! Reading what clients send.

use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::Number;

use super::problem::Problem;
use crate::paint::random_seed;

/// A body of JSON. An empty one is an object without anything in it.
pub(super) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("the request's JSON: {error}"))
    })
}

/// What a number means as a seed: itself, or any where it is missing or negative.
pub(super) fn seed(number: Option<&Number>) -> Result<u64, Problem> {
    let Some(number) = number else { return Ok(random_seed()) };
    let whole = number.as_f64().filter(|x| x.fract() == 0.0);
    match (number.as_u64(), whole) {
        (Some(seed), _) => Ok(seed),
        (None, Some(x)) if x < 0.0 => Ok(random_seed()),
        // As large as is exact.
        (None, Some(x)) if x < 9e15 => Ok(x as u64),
        _ => Err(Problem::bad(format!("seed {number} is no whole number below 2^64"))),
    }
}

/// What is wrong with a body that could not be read.
pub(super) fn body(rejection: &BytesRejection) -> Problem {
    let status = rejection.status();
    let message = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "the request is too large".to_owned(),
        _ => rejection.body_text(),
    };
    Problem::new(status, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed_of(text: &str) -> Result<u64, Problem> {
        seed(Some(&text.parse().unwrap()))
    }

    #[test]
    fn seeds_are_whole_numbers_and_negative_ones_any() {
        assert_eq!(seed_of("42"), Ok(42));
        assert_eq!(seed_of("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(seed_of("42.0"), Ok(42));
        for text in ["-1", "-7", "-1.0"] {
            assert!(seed_of(text).unwrap() < 1 << 32, "{text}");
        }
        assert!(seed_of("0.5").is_err() && seed_of("1e300").is_err());
        assert!(seed(None).unwrap() < 1 << 32);
    }
}

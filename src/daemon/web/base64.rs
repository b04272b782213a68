//! Base64 as clients send it: with or without padding, with line breaks, behind `data:...;base64,`.

/// The bytes, or `None` where a character has no place in base64.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let text = without_data_prefix(text.trim());
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0);
    let digits = text.trim_end_matches('=').bytes().filter(|b| !b.is_ascii_whitespace());
    for digit in digits {
        bits = bits << 6 | value(digit)?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    // Six bits that are left over are no byte and no padding.
    (count < 6).then_some(bytes)
}

/// Pictures come as the addresses of images too.
fn without_data_prefix(text: &str) -> &str {
    let head = text.get(..5).is_some_and(|head| head.eq_ignore_ascii_case("data:"));
    text.split_once(',').filter(|_| head).map_or(text, |(_, body)| body)
}

/// Of the usual alphabet and the one for addresses.
fn value(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paint::preview::base64;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_base64_is_none() {
        for text in ["a", "abcde", "ab!d", "http://example.com/a.png", "ab=d"] {
            assert_eq!(decode(text), None, "{text}");
        }
        assert_eq!(decode(""), Some(Vec::new()));
        assert_eq!(decode("DATA:image/png;base64,YQ"), Some(b"a".to_vec()));
        assert_eq!(decode("Y\nWI=\r\n"), Some(b"ab".to_vec()));
    }

    proptest! {
        #[test]
        fn what_is_encoded_comes_back(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(decode(&base64(&bytes)), Some(bytes.clone()));
            let data = format!("data:image/png;base64,{}", base64(&bytes).trim_end_matches('='));
            prop_assert_eq!(decode(&data), Some(bytes));
        }

        #[test]
        fn any_text_is_bytes_or_none(text in "\\PC{0,40}") {
            let _ = decode(&text);
        }
    }
}

//! Who is answered.
//!
//! With a token, whoever knows it: as `Authorization: Bearer`, as the password of `Basic`, or by
//! the cookie that the page got for it. Without one, only this machine is served; a browser on it
//! may be led here by a page of strangers, so that the request must be addressed to this machine by
//! name (else a foreign name was made to point here), and what changes something must not come from
//! another origin.

use std::net::IpAddr;

use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::{HeaderMap, Method};
use sha2::{Digest, Sha256};

use super::base64;
use super::settings::Token;

/// The cookie's name.
const COOKIE_NAME: &str = "pochade";

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// No token came with it.
    NoToken,
    /// Another token.
    WrongToken,
    /// It was addressed to another machine.
    Host,
    /// Another page sent it.
    Origin,
}

/// What is compared.
pub(super) struct Access {
    keys: Option<Keys>,
}

/// Made from the token, which itself is not kept.
struct Keys {
    token: [u8; 32],
    /// What a page that knows the token is given, so that the token is not kept in browsers.
    cookie: String,
}

impl Access {
    pub fn new(token: Option<&Token>) -> Self {
        let keys = token.map(|token| Keys {
            token: hash(token.secret()),
            cookie: hex(&hash(&format!("pochade's page\0{}", token.secret()))),
        });
        Self { keys }
    }

    /// Whether a token is needed at all.
    pub fn is_guarded(&self) -> bool {
        self.keys.is_some()
    }

    /// Whether the request may be answered.
    pub fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), Denied> {
        let by_header = match &self.keys {
            None => is_for_this_machine(headers).then_some(false).ok_or(Denied::Host)?,
            Some(keys) => keys.admit(headers)?,
        };
        // Only what a browser adds by itself can be misused by another page.
        if !by_header && !method.is_safe() && is_of_another_page(headers) {
            return Err(Denied::Origin);
        }
        Ok(())
    }

    /// The `Set-Cookie` for a page that knows the token.
    pub fn cookie(&self, token: &str) -> Option<String> {
        let keys = self.keys.as_ref().filter(|keys| same(&hash(token), &keys.token))?;
        let value = &keys.cookie;
        Some(format!("{COOKIE_NAME}={value}; HttpOnly; SameSite=Strict; Path=/; Max-Age=31536000"))
    }
}

impl Keys {
    /// Whether a header of the client's own let it in; `false` for the cookie.
    fn admit(&self, headers: &HeaderMap) -> Result<bool, Denied> {
        if let Some(token) = given_token(headers) {
            let right = same(&hash(&token), &self.token);
            return right.then_some(true).ok_or(Denied::WrongToken);
        }
        let cookie = given_cookie(headers).ok_or(Denied::NoToken)?;
        let right = same(&hash(cookie), &hash(&self.cookie));
        right.then_some(false).ok_or(Denied::WrongToken)
    }
}

fn text(headers: &HeaderMap, name: impl axum::http::header::AsHeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn given_token(headers: &HeaderMap) -> Option<String> {
    let (scheme, value) = text(headers, AUTHORIZATION)?.split_once(' ')?;
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => Some(value.trim().to_owned()),
        "basic" => {
            let pair = String::from_utf8(base64::decode(value)?).ok()?;
            let (_, password) = pair.split_once(':')?;
            Some(password.to_owned())
        }
        _ => None,
    }
}

fn given_cookie(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        cookies.flat_map(|line| line.split(';')).filter_map(|p| p.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE_NAME).map(|(_, value)| value)
}

/// Whether `Host` is a name that no other machine can have.
fn is_for_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = text(headers, HOST) else { return false };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(name, _)| name),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.to_ascii_lowercase();
    let address = name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    address || name == "localhost" || name.ends_with(".localhost")
}

/// Whether a browser says that the request was made by a page from elsewhere.
fn is_of_another_page(headers: &HeaderMap) -> bool {
    let site = text(headers, "sec-fetch-site");
    if site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return true;
    }
    let Some(origin) = headers.get(ORIGIN) else { return false };
    let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let host = text(headers, HOST);
    authority
        .is_none_or(|(_, authority)| host.is_none_or(|host| !host.eq_ignore_ascii_case(authority)))
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// Takes the same time wherever the difference is.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    let difference = a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(difference) == 0
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paint::preview::base64 as encode;
    use axum::http::HeaderName;

    const TOKEN: &str = "correct-horse-battery";

    fn guarded() -> Access {
        Access::new(Some(&Token::try_from(TOKEN.to_owned()).unwrap()))
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (HeaderName::try_from(*name).unwrap(), value.parse().unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn get(access: &Access, pairs: &[(&str, &str)]) -> Result<(), Denied> {
        access.check(&Method::GET, &headers(pairs))
    }

    fn post(access: &Access, pairs: &[(&str, &str)]) -> Result<(), Denied> {
        access.check(&Method::POST, &headers(pairs))
    }

    #[test]
    fn the_token_comes_as_bearer_as_password_or_as_cookie() {
        let access = guarded();
        let basic = |pair: &str| format!("Basic {}", encode(pair.as_bytes()));
        assert_eq!(get(&access, &[]), Err(Denied::NoToken));
        assert_eq!(get(&access, &[("authorization", "Basic ")]), Err(Denied::NoToken));
        for (value, verdict) in [
            (format!("Bearer {TOKEN}"), Ok(())),
            (format!("bearer  {TOKEN}"), Ok(())),
            (basic(&format!("me:{TOKEN}")), Ok(())),
            (format!("Bearer {TOKEN}x"), Err(Denied::WrongToken)),
            (basic("me:x"), Err(Denied::WrongToken)),
        ] {
            assert_eq!(get(&access, &[("authorization", &value)]), verdict, "{value}");
        }
        let cookie = access.cookie(TOKEN).unwrap();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"));
        assert!(!cookie.contains(TOKEN));
        let pair = cookie.split(';').next().unwrap();
        assert_eq!(get(&access, &[("cookie", &format!("a=b; {pair}"))]), Ok(()));
        assert_eq!(get(&access, &[("cookie", "pochade=x")]), Err(Denied::WrongToken));
        assert_eq!(access.cookie("x"), None);
        assert_eq!(Access::new(None).cookie(""), None);
    }

    #[test]
    fn a_foreign_name_that_points_here_is_not_answered() {
        let access = Access::new(None);
        for host in ["127.0.0.1:8080", "localhost", "LOCALHOST:1", "[::1]:8080", "a.localhost:80"] {
            assert_eq!(get(&access, &[("host", host)]), Ok(()), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example:8080", "192.168.1.7", "", "[::2]"] {
            assert_eq!(get(&access, &[("host", host)]), Err(Denied::Host), "{host}");
        }
        assert_eq!(get(&access, &[]), Err(Denied::Host));
    }

    #[test]
    fn another_page_cannot_change_anything() {
        let access = Access::new(None);
        let host = ("host", "localhost:8080");
        let from = |origin| post(&access, &[host, ("origin", origin)]);
        assert_eq!(post(&access, &[host]), Ok(()));
        assert_eq!(from("http://localhost:8080"), Ok(()));
        for origin in ["http://evil.example", "null", "http://localhost:9090", "localhost:8080"] {
            assert_eq!(from(origin), Err(Denied::Origin), "{origin}");
        }
        let site = |site| post(&access, &[host, ("sec-fetch-site", site)]);
        assert_eq!([site("same-origin"), site("none")], [Ok(()), Ok(())]);
        assert_eq!([site("cross-site"), site("same-site")], [Err(Denied::Origin); 2]);
        assert_eq!(get(&access, &[host, ("origin", "http://evil.example")]), Ok(()));
    }

    #[test]
    fn a_cookie_does_not_excuse_another_page_but_a_token_does() {
        let access = guarded();
        let cookie = access.cookie(TOKEN).unwrap();
        let cookie = ("cookie", cookie.split(';').next().unwrap());
        let (host, evil) = (("host", "frame.lan"), ("origin", "http://evil.example"));
        assert_eq!(post(&access, &[host, cookie, evil]), Err(Denied::Origin));
        assert_eq!(post(&access, &[host, cookie, ("origin", "http://frame.lan")]), Ok(()));
        let bearer = format!("Bearer {TOKEN}");
        assert_eq!(post(&access, &[host, evil, ("authorization", &bearer)]), Ok(()));
    }
}

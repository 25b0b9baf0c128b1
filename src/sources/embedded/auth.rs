//! Who may write: the token in the forms that Elasticsearch's clients and shippers send. Pure, in constant time.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::secret::Secret;

/// Whether an `Authorization` header carries the token: `ApiKey TOKEN`, `ApiKey base64(id:TOKEN)`,
/// `Bearer TOKEN`, or `Basic base64(user:TOKEN)` with any id or user. Where the token is itself `id:key`, its
/// base64 form is taken as well, as Elasticsearch hands keys out that way.
pub(super) fn allowed(token: &Secret, authorization: Option<&str>) -> bool {
    if token.is_empty() {
        return true;
    }
    let Some((scheme, given)) = authorization.and_then(|header| header.trim().split_once(' '))
    else {
        return false;
    };
    let given = given.trim();
    let plain = ["apikey", "bearer"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    let encoded = ["apikey", "basic"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    let decoded =
        BASE64_STANDARD.decode(given).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    // Every comparison is made, whatever the first ones said.
    let mut allowed = plain & token.matches(given);
    if let Some(decoded) = decoded.filter(|_| encoded) {
        let key = decoded.split_once(':').map_or("", |(_, key)| key);
        allowed |= token.matches(key);
        allowed |= token.matches(&decoded);
    }
    allowed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_token_is_known_in_every_form() {
        let token = Secret::new("a-long-secret-token");
        let encode = |text: &str| BASE64_STANDARD.encode(text);
        let good = [
            "ApiKey a-long-secret-token".to_owned(),
            "Bearer a-long-secret-token".to_owned(),
            format!("ApiKey {}", encode("id:a-long-secret-token")),
            format!("apikey  {} ", encode("a-long-secret-token")),
            format!("Basic {}", encode("elastic:a-long-secret-token")),
        ];
        for header in good {
            assert!(allowed(&token, Some(&header)), "{header}");
        }
        let bad = [
            String::new(),
            "ApiKey".to_owned(),
            "ApiKey ".to_owned(),
            "Basic a-long-secret-token".to_owned(),
            "Digest a-long-secret-token".to_owned(),
            format!("Bearer {}", encode("id:a-long-secret-token")),
            format!("Basic {}", encode("a-long-secret-token:elastic")),
            format!("ApiKey {}", encode("id:a-long-secret-toke")),
            format!("ApiKey {}", encode("id:")),
        ];
        for header in bad {
            assert!(!allowed(&token, Some(&header)), "{header}");
        }
        assert!(!allowed(&token, None));
        assert!(allowed(&Secret::default(), None));
        assert!(allowed(
            &Secret::new("id:key-of-elastic"),
            Some(&format!("ApiKey {}", encode("id:key-of-elastic")))
        ));
    }

    proptest! {
        #[test]
        fn nothing_else_gets_in(header in "\\PC{0,60}") {
            prop_assert!(!allowed(&Secret::new("a-long-secret-token"), Some(&header)));
        }
    }
}

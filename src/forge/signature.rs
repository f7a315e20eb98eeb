//! Is a delivery from who knows the secret? Compared in constant time, so that no guess is told how good it was.

use ring::hmac;
use subtle::ConstantTimeEq;

use super::payload::unwrap_form;
use super::{Headers, Provider};

/// Does the delivery prove that its sender knows `secret`?
///
/// GitHub and Gitea sign the body with HMAC-SHA-256, Gitea the JSON alone where that came in a form; GitLab sends the
/// secret itself, which is compared.
pub fn is_authentic(provider: Provider, secret: &str, headers: &Headers, body: &[u8]) -> bool {
    let signed = |header: &str, prefix: &str| {
        let hex = headers.get(header).and_then(|value| value.strip_prefix(prefix));
        let Some(signature) = hex.and_then(decode_hex) else { return false };
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        hmac::verify(&key, body, &signature).is_ok()
            || (provider == Provider::Gitea
                && unwrap_form(headers, body).is_ok_and(|json| hmac::verify(&key, &json, &signature).is_ok()))
    };
    // An empty secret would let everybody in who signs with nothing.
    if secret.is_empty() {
        return false;
    }
    match provider {
        Provider::Github => signed("X-Hub-Signature-256", "sha256="),
        Provider::Gitea => {
            signed("X-Gitea-Signature", "")
                || signed("X-Forgejo-Signature", "")
                || signed("X-Hub-Signature-256", "sha256=")
        }
        Provider::Gitlab => {
            headers.get("X-Gitlab-Token").is_some_and(|token| bool::from(token.as_bytes().ct_eq(secret.as_bytes())))
        }
    }
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

//! The laws of [`AuthProvider`]. Run them with
//! [`auth_provider_conformance!`](crate::auth_provider_conformance).

use crate::auth::{AuthError, AuthProvider, Credential, Principal};
use crate::redact::Secret;
use crate::time::Timestamp;

/// One `#[test]` per law of [`AuthProvider`](crate::auth::AuthProvider) for a provider that takes passwords.
///
/// `open` is `|| async { provider }`; `user` and `password` are those of a member of staff it knows;
/// `block_on` runs a future to its end (left out: [`testing::block_on`](crate::testing::block_on)).
#[macro_export]
macro_rules! auth_provider_conformance {
    ($open:expr, user = $user:expr, password = $password:expr) => {
        $crate::auth_provider_conformance!(
            block_on = $crate::testing::block_on,
            $open,
            user = $user,
            password = $password
        );
    };
    (block_on = $block_on:path, $open:expr, user = $user:expr, password = $password:expr) => {
        $crate::auth_provider_conformance!(@each $block_on, $open, $user, $password,
            the_right_password_always_gives_the_same_person
            a_wrong_password_gets_nobody_in
            an_unknown_user_is_answered_like_a_wrong_password
            a_made_up_token_gets_nobody_in
            neither_provider_nor_refusal_shows_the_credential
        );
    };
    (@each $block_on:path, $open:expr, $user:expr, $password:expr, $($law:ident)*) => {$(
        #[test]
        fn $law() {
            $block_on(async {
                let provider = ($open)().await;
                $crate::testing::auth::$law(&provider, $user, $password).await;
            });
        }
    )*};
}

/// A moment at which no credential of a test has expired.
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

fn credential(user: &str, password: &str) -> Credential {
    Credential::Password {
        user: user.to_owned(),
        password: Secret::new(password.to_owned()),
    }
}

async fn refusal<A: AuthProvider + ?Sized>(provider: &A, credential: Credential, what: &str) -> AuthError {
    match provider.authenticate(NOW, &credential).await {
        Err(error) => error,
        Ok(_) => panic!("{what} gets in"),
    }
}

/// The answer depends on the credential only.
pub async fn the_right_password_always_gives_the_same_person<A: AuthProvider + ?Sized>(
    provider: &A,
    user: &str,
    password: &str,
) {
    let first = provider
        .authenticate(NOW, &credential(user, password))
        .await
        .expect("the right password");
    assert!(
        matches!(first, Principal::Staff { .. }),
        "passwords are for staff"
    );
    refusal(provider, credential(user, "wrong"), "a wrong password").await;
    let second = provider
        .authenticate(NOW, &credential(user, password))
        .await
        .expect("the right password");
    assert_eq!(first, second);
}

/// Nothing near the right password is good enough.
pub async fn a_wrong_password_gets_nobody_in<A: AuthProvider + ?Sized>(
    provider: &A,
    user: &str,
    password: &str,
) {
    let shorter: String = password.chars().take(password.chars().count() - 1).collect();
    let wrong = [
        String::new(),
        shorter,
        format!("{password} "),
        format!(" {password}"),
        format!("{password}\0"),
        password.to_uppercase() + "x",
        user.to_owned() + "!",
        "x".repeat(1 << 20),
    ];
    for attempt in wrong {
        let error = refusal(provider, credential(user, &attempt), "a wrong password").await;
        assert!(
            matches!(error, AuthError::Invalid),
            "a wrong password is Invalid, not {error:?}"
        );
    }
}

/// Who is on the staff is not told.
pub async fn an_unknown_user_is_answered_like_a_wrong_password<A: AuthProvider + ?Sized>(
    provider: &A,
    user: &str,
    password: &str,
) {
    for unknown in [
        String::new(),
        format!("{user}x"),
        format!("{user}\0"),
        "'; --".to_owned(),
        "x".repeat(1 << 16),
    ] {
        let error = refusal(provider, credential(&unknown, password), "an unknown user").await;
        assert!(
            matches!(error, AuthError::Invalid),
            "an unknown user is Invalid, not {error:?}"
        );
    }
}

/// There is no default principal.
pub async fn a_made_up_token_gets_nobody_in<A: AuthProvider + ?Sized>(
    provider: &A,
    user: &str,
    password: &str,
) {
    for token in ["", user, password, "null", "a.b.c"] {
        let bearer = Credential::Bearer(Secret::new(token.to_owned()));
        let error = refusal(provider, bearer, "a made up token").await;
        assert!(
            matches!(error, AuthError::Invalid | AuthError::Unsupported),
            "a made up token is Invalid or Unsupported, not {error:?}"
        );
    }
}

/// What may be logged gives nothing away.
pub async fn neither_provider_nor_refusal_shows_the_credential<A: AuthProvider + ?Sized>(
    provider: &A,
    user: &str,
    password: &str,
) {
    let attempt = format!("{password}-wrong");
    let error = refusal(provider, credential(user, &attempt), "a wrong password").await;
    let mut shown = format!("{provider:?} {error} {error:?}");
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        shown.push_str(&inner.to_string());
        cause = inner.source();
    }
    assert!(!shown.contains(password), "a password is shown");
}

//! The HTTP contract, through the router.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap, Method, StatusCode};
use callkit_core::auth::{Principal, RolePolicy, StaffRole};
use callkit_core::call::Party;
use callkit_core::id::AgentId;
use callkit_core::memory::{MemoryAuth, MemorySessionStore};
use callkit_core::redact::Private;
use callkit_core::store::{Change, Commit};
use callkit_core::testing::{ManualClock, samples};
use callkit_core::time::Clock;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::adapter::SigningKey;
use crate::adapter::identity::{SESSION_LIFETIME, StaffDirectory, StaffEntry};

const ORIGIN: &str = "http://127.0.0.1:8080";

fn principal(id: &str, role: StaffRole) -> Principal {
    let name = Private::new(format!("Name of {id}"));
    Principal::Staff {
        id: AgentId::new(id).unwrap(),
        name,
        role,
    }
}

#[derive(Debug)]
struct Everybody;

impl StaffDirectory for Everybody {
    fn find(&self, id: &AgentId) -> Option<StaffEntry> {
        let role = if id.as_str() == "sveta" {
            StaffRole::Supervisor
        } else {
            StaffRole::Operator
        };
        let stamp = callkit_core::redact::Secret::new(String::new());
        Some(StaffEntry {
            principal: principal(id.as_str(), role),
            stamp,
        })
    }
}

/// A server on memory, with irina and oleg (operators) and sveta (supervisor), all with password "secret".
struct Server {
    clock: Arc<ManualClock>,
    identity: Arc<Identity>,
    store: Arc<MemorySessionStore>,
    router: Router,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&self.body)))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn is_problem(&self, status: u16, code: &str) {
        assert_eq!(
            (self.status.as_u16(), self.json()["code"].as_str()),
            (status, Some(code))
        );
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.json()["status"], status);
        assert!(self.json()["message"].is_string());
    }
}

impl Server {
    fn new() -> Self {
        Self::with(&Config::default())
    }

    fn with(config: &Config) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_000)));
        let auth = [
            ("irina", StaffRole::Operator),
            ("oleg", StaffRole::Operator),
            ("sveta", StaffRole::Supervisor),
        ]
        .into_iter()
        .fold(MemoryAuth::default(), |auth, (id, role)| {
            auth.with_user(id, "secret", principal(id, role))
        });
        let shared: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let key = SigningKey::from_bytes(&[1; 32]);
        let identity = Identity::new(key, Arc::new(auth), shared)
            .unwrap()
            .with_directory(Arc::new(Everybody));
        let identity = Arc::new(identity);
        let store = Arc::new(MemorySessionStore::default());
        let shared: Arc<dyn SessionStore> = Arc::<MemorySessionStore>::clone(&store);
        let state = HttpState::new(
            config,
            8080,
            Arc::clone(&identity),
            shared,
            Arc::new(RolePolicy),
            None,
        );
        Self {
            clock,
            identity,
            store,
            router: router(state),
        }
    }

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let peer: SocketAddr = "192.0.2.7:5000".parse().unwrap();
        let request = request
            .extension(ConnectInfo(peer))
            .body(Body::from(body.to_owned()))
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap().to_vec();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(Method::GET, path, headers, "").await
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let mut all = vec![("content-type", "application/json")];
        all.extend_from_slice(headers);
        self.send(Method::POST, path, &all, &body.to_string()).await
    }

    async fn sign_in(&self, user: &str, password: &str) -> Answer {
        let body = json!({"user": user, "password": password});
        self.post("/api/v1/staff/login", &[("origin", ORIGIN)], &body)
            .await
    }

    /// The cookie header of a signed-in `user`.
    async fn cookie(&self, user: &str) -> String {
        let answer = self.sign_in(user, "secret").await;
        assert_eq!(answer.status, StatusCode::OK);
        answer.header("set-cookie").split(';').next().unwrap().to_owned()
    }
}

#[tokio::test]
async fn the_root_leads_customers_to_their_page() {
    let answer = Server::new().get("/", &[]).await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (StatusCode::FOUND, "/call/")
    );
    assert_eq!(
        Server::new().get("/console", &[]).await.header("location"),
        "/console/"
    );
}

#[tokio::test]
async fn both_pages_are_there_and_bound_to_our_own_scripts() {
    for path in ["/call/", "/console/"] {
        let answer = Server::new().get(path, &[]).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
        let policy = answer.header("content-security-policy");
        assert!(
            policy.contains("script-src 'self';") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        assert!(
            answer
                .header("permissions-policy")
                .contains("display-capture=(self)")
        );
    }
}

#[tokio::test]
async fn every_module_and_style_that_the_pages_name_is_served() {
    let server = Server::new();
    for page in ["/call/", "/console/"] {
        let html = String::from_utf8(server.get(page, &[]).await.body).unwrap();
        let mut named = html
            .split('"')
            .filter(|part| part.starts_with("/web/"))
            .peekable();
        assert!(named.peek().is_some(), "{page} names no file");
        for path in named {
            assert_eq!(
                server.get(path, &[]).await.status,
                StatusCode::OK,
                "{page} names {path}"
            );
        }
    }
}

#[tokio::test]
async fn a_browser_that_has_a_file_does_not_get_it_again() {
    let server = Server::new();
    let first = server.get("/web/client/connection.js", &[]).await;
    assert_eq!(first.header("content-type"), "text/javascript; charset=utf-8");
    assert_eq!(first.header("cache-control"), "no-cache");
    let tag = first.header("etag").to_owned();
    let again = server
        .get("/web/client/connection.js", &[("if-none-match", &tag)])
        .await;
    assert_eq!((again.status, again.body.len()), (StatusCode::NOT_MODIFIED, 0));
    let other = server
        .get("/web/client/connection.js", &[("if-none-match", "\"other\"")])
        .await;
    assert_eq!(other.status, StatusCode::OK);
}

#[tokio::test]
async fn nothing_but_the_pages_is_served() {
    let server = Server::new();
    for path in [
        "/web/package.json",
        "/web/test/x.test.js",
        "/web/../Cargo.toml",
        "/web/%2e%2e/Cargo.toml",
        "/web/..%2fCargo.toml",
        "/web/call/..%5c..%5cCargo.toml",
        "/web/%00",
        "/web//etc/passwd",
        "/nowhere",
        "/api/v1/nowhere",
        "/api/v1/signal",
    ] {
        server.get(path, &[]).await.is_problem(404, "not_found");
    }
    server
        .send(Method::DELETE, "/call/", &[], "")
        .await
        .is_problem(405, "method_not_allowed");
}

#[tokio::test]
async fn the_public_configuration_has_brand_and_queues() {
    let answer = Server::new().get("/api/v1/config", &[]).await;
    assert_eq!(
        answer.json(),
        json!({
            "brand": {"name": "Callkit", "logo": null, "accent": null, "theme": "auto"},
            "queues": [{"id": "support", "name": "Support"}],
            "default_queue": "support",
            "signal": "/api/v1/signal",
        })
    );
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn a_visitor_gets_a_token_that_signaling_accepts() {
    let server = Server::new();
    let answer = server
        .post("/api/v1/visitors", &[], &json!({"name": " Анна "}))
        .await;
    assert_eq!(answer.status, StatusCode::CREATED);
    let body = answer.json();
    let now = server.clock.now();
    let who = server
        .identity
        .verify_token(now, body["token"].as_str().unwrap())
        .unwrap();
    let Principal::Customer { id, name, verified } = who else {
        panic!("not a customer")
    };
    assert_eq!(body["customer"], id.to_string());
    assert_eq!(name.unwrap().expose(), "Анна");
    assert!(!verified);
    assert_eq!(body["expires_at_ms"], now.as_millis() + 12 * 3600 * 1000);
}

#[tokio::test]
async fn a_visitor_may_stay_without_a_name_but_not_take_an_impossible_one() {
    let server = Server::new();
    for nameless in [json!({}), json!({"name": null}), json!({"name": "  "})] {
        let answer = server.post("/api/v1/visitors", &[], &nameless).await;
        assert_eq!(answer.status, StatusCode::CREATED);
        let token = answer.json()["token"].as_str().unwrap().to_owned();
        let who = server.identity.verify_token(server.clock.now(), &token).unwrap();
        assert!(matches!(who, Principal::Customer { name: None, .. }));
    }
    for impossible in [
        json!({"name": "x".repeat(81)}),
        json!({"name": "a\u{0}b"}),
        json!({"name": 7}),
        json!("x"),
    ] {
        server
            .post("/api/v1/visitors", &[], &impossible)
            .await
            .is_problem(400, "invalid_body");
    }
}

#[tokio::test]
async fn bodies_are_bounded_and_json() {
    let server = Server::new();
    let large = json!({"name": "x".repeat(70_000)});
    server
        .post("/api/v1/visitors", &[], &large)
        .await
        .is_problem(413, "too_large");
    server
        .post("/api/v1/visitors", &[], &Value::Null)
        .await
        .is_problem(400, "invalid_body");
    let json = [("content-type", "application/json")];
    server
        .send(Method::POST, "/api/v1/visitors", &json, "{\"name\":")
        .await
        .is_problem(400, "invalid_body");
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/jsonp",
    ] {
        let headers = [("content-type", kind)];
        server
            .send(Method::POST, "/api/v1/visitors", &headers, "{}")
            .await
            .is_problem(415, "unsupported_media_type");
    }
    server
        .send(Method::POST, "/api/v1/visitors", &[], "{}")
        .await
        .is_problem(415, "unsupported_media_type");
}

#[tokio::test]
async fn pages_of_foreign_origins_can_change_nothing() {
    let server = Server::new();
    for origin in [
        "https://evil.example",
        "http://127.0.0.1:8081",
        "https://127.0.0.1:8080",
        "null",
        "",
    ] {
        let answer = server
            .post("/api/v1/visitors", &[("origin", origin)], &json!({}))
            .await;
        answer.is_problem(403, "origin_refused");
        assert_eq!(answer.header("access-control-allow-origin"), "");
    }
    for origin in [ORIGIN, "http://localhost:8080"] {
        let answer = server
            .post("/api/v1/visitors", &[("origin", origin)], &json!({}))
            .await;
        assert_eq!(answer.status, StatusCode::CREATED, "{origin}");
    }
}

#[tokio::test]
async fn a_site_that_embeds_the_widget_may_use_the_api_without_cookies() {
    let mut config = Config::default();
    config.http.allowed_origins = vec!["https://shop.example".to_owned()];
    let server = Server::with(&config);
    let shop = ("origin", "https://shop.example");
    let asked = [shop, ("access-control-request-method", "POST")];
    let preflight = server.send(Method::OPTIONS, "/api/v1/visitors", &asked, "").await;
    assert_eq!(preflight.status, StatusCode::NO_CONTENT);
    assert_eq!(
        preflight.header("access-control-allow-origin"),
        "https://shop.example"
    );
    assert_eq!(preflight.header("access-control-allow-headers"), "content-type");
    let answer = server.post("/api/v1/visitors", &[shop], &json!({})).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        "https://shop.example"
    );
    assert_eq!(answer.header("access-control-allow-credentials"), "");
    let foreign = [
        ("origin", "https://evil.example"),
        ("access-control-request-method", "POST"),
    ];
    server
        .send(Method::OPTIONS, "/api/v1/visitors", &foreign, "")
        .await
        .is_problem(403, "origin_refused");
}

#[tokio::test]
async fn staff_sign_in_with_a_cookie_that_scripts_cannot_read() {
    let server = Server::new();
    let answer = server.sign_in("irina", "secret").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.json(),
        json!({"agent": {"id": "irina", "name": "Name of irina", "role": "operator"}})
    );
    let cookie = answer.header("set-cookie").to_owned();
    assert!(cookie.starts_with("callkit_staff="), "{cookie}");
    assert!(
        cookie.ends_with("; HttpOnly; SameSite=Strict; Path=/; Max-Age=43200"),
        "{cookie}"
    );
    let value = cookie.split(';').next().unwrap();
    let sent = format!("other=1; {value}; more=2");
    assert_eq!(
        server.get("/api/v1/staff/me", &[("cookie", &sent)]).await.json()["agent"]["id"],
        "irina"
    );
}

#[tokio::test]
async fn the_cookie_is_secure_behind_a_tls_proxy() {
    let mut config = Config::default();
    config.http.behind_tls_proxy = true;
    config.http.public_url = Some("https://calls.example.com".to_owned());
    let server = Server::with(&config);
    let body = json!({"user": "irina", "password": "secret"});
    let answer = server
        .post(
            "/api/v1/staff/login",
            &[("origin", "https://calls.example.com")],
            &body,
        )
        .await;
    assert!(answer.header("set-cookie").ends_with("; Secure"));
}

#[tokio::test]
async fn wrong_credentials_are_all_answered_alike() {
    let server = Server::new();
    let wrong = server.sign_in("irina", "wrong").await;
    wrong.is_problem(401, "invalid_credentials");
    for (user, password) in [
        ("nobody", "secret"),
        ("", ""),
        ("IRINA", "secret"),
        ("ir\u{0}ina", "x"),
    ] {
        assert_eq!(server.sign_in(user, password).await.body, wrong.body);
    }
    assert_eq!(wrong.header("set-cookie"), "");
}

#[tokio::test]
async fn guessing_a_password_is_slowed_down_and_signing_in_is_not() {
    let server = Server::new();
    for _ in 0..100 {
        assert_eq!(server.sign_in("oleg", "secret").await.status, StatusCode::OK);
    }
    for _ in 0..10 {
        server
            .sign_in("irina", "wrong")
            .await
            .is_problem(401, "invalid_credentials");
    }
    let refused = server.sign_in("irina", "secret").await;
    refused.is_problem(429, "too_many_requests");
    let seconds: u64 = refused.header("retry-after").parse().unwrap();
    server.clock.advance(Duration::from_secs(seconds));
    assert_eq!(server.sign_in("irina", "secret").await.status, StatusCode::OK);
}

#[tokio::test]
async fn one_address_cannot_try_many_accounts() {
    let server = Server::new();
    let mut refused = 0;
    for n in 0..60 {
        let answer = server.sign_in(&format!("user{n}"), "guess").await;
        refused += u32::from(answer.status == StatusCode::TOO_MANY_REQUESTS);
    }
    assert_eq!(refused, 30);
}

#[tokio::test]
async fn one_address_cannot_make_visitors_without_end() {
    let server = Server::new();
    for _ in 0..60 {
        assert_eq!(
            server.post("/api/v1/visitors", &[], &json!({})).await.status,
            StatusCode::CREATED
        );
    }
    server
        .post("/api/v1/visitors", &[], &json!({}))
        .await
        .is_problem(429, "too_many_requests");
}

#[tokio::test]
async fn behind_a_proxy_the_client_is_who_the_proxy_says_not_who_the_client_says() {
    let extensions = Extensions::new();
    let mut headers = HeaderMap::new();
    headers.append(
        "x-forwarded-for",
        HeaderValue::from_static("198.51.100.1, 203.0.113.9"),
    );
    headers.append(
        "x-forwarded-for",
        HeaderValue::from_static("10.0.0.1, 192.0.2.44"),
    );
    let told = client_address(&extensions, &headers, true);
    assert_eq!(
        told.map(|address| address.to_string()).as_deref(),
        Some("192.0.2.44")
    );
    assert_eq!(client_address(&extensions, &headers, false), None);
}

#[tokio::test]
async fn without_a_session_staff_paths_say_so() {
    let server = Server::new();
    let forged = [("cookie", "callkit_staff=cks1.e30.AAAA")];
    for path in [
        "/api/v1/staff/me",
        "/api/v1/calls",
        "/api/v1/calls/call_00000000000000000000000001",
    ] {
        server.get(path, &[]).await.is_problem(401, "unauthenticated");
        server.get(path, &forged).await.is_problem(401, "unauthenticated");
    }
    server
        .post("/api/v1/staff/ticket", &[], &json!({}))
        .await
        .is_problem(401, "unauthenticated");
}

#[tokio::test]
async fn a_session_ends_with_sign_out_and_after_twelve_hours() {
    let server = Server::new();
    let (first, second) = (server.cookie("irina").await, server.cookie("irina").await);
    let out = server
        .post("/api/v1/staff/logout", &[("cookie", &first)], &json!({}))
        .await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    assert!(
        out.header("set-cookie").contains("callkit_staff=; ")
            && out.header("set-cookie").contains("Max-Age=0")
    );
    server
        .get("/api/v1/staff/me", &[("cookie", &first)])
        .await
        .is_problem(401, "unauthenticated");
    assert_eq!(
        server
            .get("/api/v1/staff/me", &[("cookie", &second)])
            .await
            .status,
        StatusCode::OK
    );
    server.clock.advance(SESSION_LIFETIME);
    server
        .get("/api/v1/staff/me", &[("cookie", &second)])
        .await
        .is_problem(401, "unauthenticated");
    assert_eq!(
        server.post("/api/v1/staff/logout", &[], &json!({})).await.status,
        StatusCode::NO_CONTENT
    );
}

#[tokio::test]
async fn a_ticket_opens_one_signaling_session() {
    let server = Server::new();
    let cookie = server.cookie("irina").await;
    let answer = server
        .post("/api/v1/staff/ticket", &[("cookie", &cookie)], &json!({}))
        .await;
    assert_eq!(answer.json()["expires_in_ms"], 30_000);
    let ticket = answer.json()["ticket"].as_str().unwrap().to_owned();
    let now = server.clock.now();
    assert_eq!(
        server.identity.verify_token(now, &ticket).unwrap().party(),
        Party::Agent(samples::agent_id("irina"))
    );
    assert!(server.identity.verify_token(now, &ticket).is_err());
}

/// Two ended calls, the first with irina, the second with oleg, and an open one with irina.
async fn with_history() -> Server {
    let server = Server::new();
    let (irina, oleg) = (samples::agent_id("irina"), samples::agent_id("oleg"));
    let calls = [
        samples::ended(samples::joined(samples::call(1), &irina)),
        samples::ended(samples::joined(samples::call(2), &oleg)),
        samples::joined(samples::call(3), &irina),
    ];
    let chat = vec![
        samples::chat(calls[0].id, Party::Customer, 1),
        samples::chat(calls[0].id, Party::Agent(irina), 2),
    ];
    let quality = vec![samples::quality(&calls[0], 1)];
    let calls = calls.into_iter().map(|next| Change { expect: 0, next }).collect();
    server
        .store
        .commit(&Commit {
            calls,
            chat,
            quality,
            ..Commit::default()
        })
        .await
        .unwrap();
    server
}

fn listed(answer: &Answer) -> Vec<String> {
    let calls = answer.json()["calls"].as_array().unwrap().clone();
    calls
        .iter()
        .map(|call| call["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn operators_see_their_own_ended_calls_and_supervisors_all() {
    let server = with_history().await;
    let id = |n| samples::call(n).id.to_string();
    let (irina, sveta) = (server.cookie("irina").await, server.cookie("sveta").await);
    assert_eq!(
        listed(&server.get("/api/v1/calls", &[("cookie", &irina)]).await),
        [id(1)]
    );
    assert_eq!(
        listed(&server.get("/api/v1/calls", &[("cookie", &sveta)]).await),
        [id(2), id(1)]
    );
    let page = format!("/api/v1/calls?limit=5&before={}", id(2));
    assert_eq!(listed(&server.get(&page, &[("cookie", &sveta)]).await), [id(1)]);
    let one = server.get("/api/v1/calls?limit=1", &[("cookie", &sveta)]).await;
    assert_eq!(listed(&one), [id(2)]);
    for wrong in ["limit=x", "limit=-1", "before=call_1", "limit=99999999999"] {
        let answer = server
            .get(&format!("/api/v1/calls?{wrong}"), &[("cookie", &sveta)])
            .await;
        answer.is_problem(400, "invalid_parameter");
    }
}

#[tokio::test]
async fn a_call_is_shown_with_people_chat_and_offers() {
    let server = with_history().await;
    let cookie = server.cookie("irina").await;
    let path = format!("/api/v1/calls/{}", samples::call(1).id);
    let body = server.get(&path, &[("cookie", &cookie)]).await.json();
    assert_eq!(body["call"]["reason"], "abandoned");
    assert_eq!(body["call"]["customer"], samples::call(1).customer.id.to_string());
    let roles: Vec<_> = body["participants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["role"].clone())
        .collect();
    assert_eq!(roles, ["customer", "operator"]);
    assert_eq!(body["participants"][1]["name"], "Name of irina");
    let mine: Vec<_> = body["chat"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["mine"].clone())
        .collect();
    assert_eq!(mine, [false, true]);
    assert_eq!(body["offers"], json!([]));
    assert_eq!(
        (&body["quality"][0]["level"], &body["quality"][0]["cause"]),
        (&json!("poor"), &json!("network"))
    );
}

#[tokio::test]
async fn a_call_of_somebody_else_is_as_absent_as_one_that_never_was() {
    let server = with_history().await;
    let cookie = server.cookie("irina").await;
    let foreign = server
        .get(
            &format!("/api/v1/calls/{}", samples::call(2).id),
            &[("cookie", &cookie)],
        )
        .await;
    let never = server
        .get(
            &format!("/api/v1/calls/{}", samples::call(99).id),
            &[("cookie", &cookie)],
        )
        .await;
    foreign.is_problem(404, "not_found");
    assert_eq!(foreign.body, never.body);
    server
        .get("/api/v1/calls/nonsense", &[("cookie", &cookie)])
        .await
        .is_problem(404, "not_found");
}

#[tokio::test]
async fn the_health_check_answers() {
    let answer = Server::new().get("/healthz", &[]).await;
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (StatusCode::OK, b"ok".as_slice())
    );
}

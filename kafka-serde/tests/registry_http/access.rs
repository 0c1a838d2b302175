use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use futures::future::join_all;
use kafka_serde::{ErrorKind, OAuth, Retry, SchemaId};

use crate::script::{Script, answered, found, hasty};

fn authorization(head: &str) -> Option<&str> {
    head.lines().find_map(|line| line.strip_prefix("authorization: "))
}

#[tokio::test]
async fn credentials_are_sent_as_they_are_configured() {
    let script = Script::start(&[&found()]).await;
    let with_user = script.url.replace("http://", "http://ann:a%40b@");
    hasty(&with_user).build().unwrap().schema(SchemaId::Id(1)).await.unwrap();
    hasty(&script.url).basic_auth("ann", "a@b").build().unwrap().schema(SchemaId::Id(1)).await.unwrap();
    hasty(&script.url).bearer_token("t").header("x-a", "b").build().unwrap().schema(SchemaId::Id(1)).await.unwrap();
    let asked = script.asked();
    // printf 'ann:a@b' | base64
    assert_eq!(authorization(&asked[0]), Some("Basic YW5uOmFAYg=="));
    assert_eq!(authorization(&asked[1]), Some("Basic YW5uOmFAYg=="));
    assert_eq!(authorization(&asked[2]), Some("Bearer t"));
    assert!(asked[2].contains("x-a: b"));
}

#[tokio::test]
async fn a_proxy_is_asked_in_place_of_the_registry_and_has_credentials_of_its_own() {
    let proxy = Script::start(&[&found(), &answered("502 Bad Gateway", "", "")]).await;
    let url = proxy.url.replace("http://", "http://ann:a%40b@");
    // Nobody but the proxy could find these hosts.
    let plain = hasty("http://registry.invalid:8081").bearer_token("t").proxy(&url).build().unwrap();
    plain.schema(SchemaId::Id(1)).await.unwrap();
    let encrypted = hasty("https://registry.invalid").bearer_token("s3cret").proxy(&url).retries(0).build().unwrap();
    let error = encrypted.schema(SchemaId::Id(1)).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::RegistryUnavailable, Retry::Temporary));

    let asked = proxy.asked();
    assert!(asked[0].starts_with("GET http://registry.invalid:8081/schemas/ids/1"), "{}", asked[0]);
    assert_eq!(authorization(&asked[0]), Some("Bearer t"));
    // What goes to the registry under TLS is nothing that the proxy sees.
    assert!(asked[1].starts_with("CONNECT registry.invalid:443 "), "{}", asked[1]);
    assert!(!asked[1].contains("s3cret"));
    for head in &asked[..2] {
        assert!(
            head.lines().any(|line| line.eq_ignore_ascii_case("proxy-authorization: Basic YW5uOmFAYg==")),
            "{head}"
        );
    }
}

#[tokio::test]
async fn a_function_gives_the_credentials_of_each_request() {
    let script = Script::start(&[&found()]).await;
    let count = Arc::new(AtomicU32::new(0));
    let registry = hasty(&script.url).authorization(move || {
        let number = count.fetch_add(1, SeqCst);
        async move { Ok(format!("Bearer {number}")) }
    });
    let registry = registry.build().unwrap();
    registry.schema(SchemaId::Id(1)).await.unwrap();
    registry.schema(SchemaId::Id(2)).await.unwrap();
    let asked = script.asked();
    assert_eq!([authorization(&asked[0]), authorization(&asked[1])], [Some("Bearer 0"), Some("Bearer 1")]);
}

#[tokio::test]
async fn a_token_is_fetched_once_for_all_and_again_when_it_is_refused() {
    let token = |text: &str| answered("200 OK", "", &format!(r#"{{"access_token":"{text}","expires_in":3600}}"#));
    let issuer = Script::start(&[&token("one"), &token("two")]).await;
    let denied = answered("401 Unauthorized", "", "");
    let script = Script::start(&[&found(), &found(), &found(), &denied, &found()]).await;
    let oauth = OAuth::new(format!("{}/token", issuer.url), "id", "secret").scope("a b");
    let registry = hasty(&script.url).oauth(oauth).build().unwrap();
    let all = join_all((1..=3).map(|id| registry.schema(SchemaId::Id(id)))).await;
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(issuer.asked().len(), 1);
    assert!(issuer.asked()[0].starts_with("POST /token "));

    registry.schema(SchemaId::Id(4)).await.unwrap();
    let sent: Vec<_> = script.asked().iter().map(|head| authorization(head).unwrap().to_owned()).collect();
    assert_eq!(sent, ["Bearer one", "Bearer one", "Bearer one", "Bearer one", "Bearer two"]);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    let token = |text: &str| answered("200 OK", "", &format!(r#"{{"access_token":"{text}","expires_in":0}}"#));
    let issuer = Script::start(&[&token("one"), &token("two")]).await;
    let script = Script::start(&[&found()]).await;
    let registry = hasty(&script.url).oauth(OAuth::new(&issuer.url, "id", "secret")).build().unwrap();
    registry.schema(SchemaId::Id(1)).await.unwrap();
    registry.schema(SchemaId::Id(2)).await.unwrap();
    assert_eq!(authorization(&script.asked()[1]), Some("Bearer two"));
}

#[tokio::test]
async fn denied_is_not_an_outage() {
    let script = Script::start(&[&answered("401 Unauthorized", "", "")]).await;
    let error = hasty(&script.url).build().unwrap().schema(SchemaId::Id(1)).await.unwrap_err();
    assert_eq!((error.kind(), script.asked().len()), (ErrorKind::AccessDenied, 1));
    let issuer = Script::start(&[&answered("400 Bad Request", "", r#"{"error":"invalid_client"}"#)]).await;
    let registry = hasty(&script.url).oauth(OAuth::new(&issuer.url, "id", "s3cret")).build().unwrap();
    let error = registry.schema(SchemaId::Id(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDenied);
    assert!(!format!("{error} {error:?}").contains("s3cret"));
}

#[tokio::test]
async fn a_redirection_is_not_followed() {
    let elsewhere = Script::start(&[&found()]).await;
    let moved = answered("302 Found", &format!("Location: {}/\r\n", elsewhere.url), "");
    let script = Script::start(&[&moved]).await;
    let registry = hasty(&script.url).bearer_token("t").build().unwrap();
    registry.schema(SchemaId::Id(1)).await.unwrap_err();
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test]
async fn an_issuer_that_never_stops_talking_is_not_listened_to() {
    // 2 MiB of a token, and a length that promises more.
    let endless =
        format!("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n{{\"access_token\":\"{}", "x".repeat(2 << 20));
    let issuer = Script::start(&[&endless]).await;
    let registry = hasty("http://127.0.0.1:1").oauth(OAuth::new(&issuer.url, "id", "secret")).retries(0);
    let error = registry.build().unwrap().schema(SchemaId::Id(1)).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::RegistryUnavailable, Retry::Temporary));
    assert!(error.to_string().contains("more than 1048576 bytes"), "{error}");
}

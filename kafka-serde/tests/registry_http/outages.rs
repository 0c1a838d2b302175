use std::time::{Duration, Instant};

use kafka_serde::{Delete, ErrorKind, Registry, RegistryServer, Retry, Schema, SchemaChoice, SchemaId};
use tokio::net::TcpListener;

use crate::script::{Script, answered, found, hasty};

#[tokio::test]
async fn a_registry_that_asks_for_patience_is_asked_again_after_it() {
    let script = Script::start(&[&answered("429 Too Many Requests", "Retry-After: 1\r\n", ""), &found()]).await;
    let registry = hasty(&script.url).build().unwrap();
    let start = Instant::now();
    assert_eq!(&*registry.schema(SchemaId::Id(1)).await.unwrap().schema.text, "\"string\"");
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!((script.asked().len(), registry.stats().retries), (2, 1));
}

#[tokio::test]
async fn outages_that_pass_are_not_seen() {
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"schema\":";
    let chunk = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{\"sch";
    for bad in
        [&answered("500 Internal Server Error", "", "oops"), &answered("503 No", "", ""), half, chunk, "", "\x07\x07"]
    {
        let script = Script::start(&[bad, &found()]).await;
        let registry = hasty(&script.url).build().unwrap();
        registry.schema(SchemaId::Id(1)).await.unwrap_or_else(|error| panic!("{bad:?}: {error:?}"));
        assert_eq!(script.asked().len(), 2, "{bad:?}");
    }
}

#[tokio::test]
async fn an_outage_that_stays_is_an_error_that_may_pass() {
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"schema\":";
    for bad in [&answered("500 Internal Server Error", "", "oops"), half] {
        let script = Script::start(&[bad]).await;
        let registry = hasty(&script.url).retries(2).build().unwrap();
        let error = registry.schema(SchemaId::Id(1)).await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (ErrorKind::RegistryUnavailable, Retry::Temporary), "{error:?}");
        assert!(error.to_string().contains("GET /schemas/ids/1"), "{error}");
        assert_eq!(script.asked().len(), 3);
        // It is asked again the next time: an outage is not remembered.
        let _ = registry.schema(SchemaId::Id(1)).await;
        assert_eq!(script.asked().len(), 6);
    }
}

#[tokio::test]
async fn garbage_is_an_error_that_shows_it_and_may_pass() {
    let script = Script::start(&[&answered("200 OK", "", "<html>log in</html>"), &found()]).await;
    let registry = hasty(&script.url).build().unwrap();
    let error = registry.schema(SchemaId::Id(1)).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::RegistryAnswer, Retry::Temporary));
    assert!(error.to_string().contains("log in"), "{error}");
    registry.schema(SchemaId::Id(1)).await.unwrap();
}

#[tokio::test]
async fn a_registry_that_says_nothing_is_given_up_after_the_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let registry = hasty(&url).timeout(Duration::from_millis(100)).retries(1).build().unwrap();
    let start = Instant::now();
    let error = registry.schema(SchemaId::Id(1)).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::RegistryUnavailable, Retry::Temporary));
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_deletion_that_may_be_done_is_not_sent_again() {
    let script = Script::start(&[&answered("500 Internal Server Error", "", "")]).await;
    let registry = hasty(&script.url).build().unwrap();
    registry.delete_subject("orders", Delete::Soft).await.unwrap_err();
    assert_eq!(script.asked().len(), 1);
}

#[tokio::test]
async fn the_second_registry_answers_for_the_first_and_is_asked_first_then() {
    let down = Script::start(&[&answered("503 Service Unavailable", "", "")]).await;
    let up = Script::start(&[&found()]).await;
    let registry = hasty(&format!("{}, {}", down.url, up.url)).build().unwrap();
    registry.schema(SchemaId::Id(1)).await.unwrap();
    registry.schema(SchemaId::Id(2)).await.unwrap();
    assert_eq!((down.asked().len(), up.asked().len()), (1, 2));

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let registry = hasty(&format!("http://{closed},{}", up.url)).build().unwrap();
    registry.schema(SchemaId::Id(1)).await.unwrap();
}

#[tokio::test]
async fn what_is_known_keeps_working_while_the_registry_is_down() {
    let memory = Registry::in_memory();
    let server = RegistryServer::start(&memory, "127.0.0.1:0").await.unwrap();
    let address = server.address();
    let registry = hasty(&server.url()).retries(0).latest_lifetime(Duration::from_millis(20)).build().unwrap();
    let (text, latest) = (Schema::avro("\"string\""), SchemaChoice::latest());
    let id = registry.register("orders-value", &text).await.unwrap().id.unwrap();
    registry.to_write("orders-value", &text, &latest).await.unwrap();
    drop(server);
    tokio::time::sleep(Duration::from_millis(100)).await;

    assert!(registry.schema(SchemaId::Id(99)).await.is_err(), "it is down");
    assert_eq!(registry.schema(SchemaId::Id(id)).await.unwrap().schema, text);
    assert_eq!(registry.to_write("orders-value", &text, &latest).await.unwrap().id, Some(id));
    assert!(registry.stats().stale_served > 0);

    let _again = RegistryServer::start(&memory, address).await.unwrap();
    let newer = Schema::avro("{\"type\":\"string\",\"x\":1}");
    memory.register("orders-value", &newer).await.unwrap();
    let before = registry.generation();
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        if registry.generation() != before {
            break;
        }
    }
    let found = registry.to_write("orders-value", &text, &latest).await.unwrap();
    assert_eq!(found.schema, newer, "it recovers by itself");
}

//! Spring Kafka's `DeadLetterPublishingRecoverer`.

use kafka_client::RawRecord;
use kafka_dlq::{Damage, DeadLetter, Dialect, Failure, Missing, TimestampType, dialect};

use super::{APPLICATION, Lines, headers, push, with};

const I32_3: Option<&[u8]> = Some(&[0, 0, 0, 3]);
const I64_4211: Option<&[u8]> = Some(&[0, 0, 0, 0, 0, 0, 0x10, 0x73]);
/// 1,700,000,000,000 as eight bytes.
const TIME: Option<&[u8]> = Some(&[0, 0, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x00]);

const ORIGIN: Lines<'static> = &[
    ("kafka_dlt-original-topic", Some(b"orders")),
    ("kafka_dlt-original-partition", I32_3),
    ("kafka_dlt-original-offset", I64_4211),
    ("kafka_dlt-original-timestamp", TIME),
    ("kafka_dlt-original-timestamp-type", Some(b"CreateTime")),
    ("kafka_dlt-original-consumer-group", Some(b"billing")),
];

const EXCEPTION: Lines<'static> = &[
    ("kafka_dlt-exception-fqcn", Some(b"org.springframework.kafka.listener.ListenerExecutionFailedException")),
    ("kafka_dlt-exception-cause-fqcn", Some(b"com.shop.CardDeclined")),
    ("kafka_dlt-exception-message", Some(b"Listener failed; card declined")),
    (
        "kafka_dlt-exception-stacktrace",
        Some(b"org...: Listener failed\n\tat a.b\nCaused by: com.shop.CardDeclined: x\n"),
    ),
];

fn written() -> RawRecord {
    let mut record = with("orders-dlt", APPLICATION);
    push(&mut record.headers, &[("kafka_deliveryAttempt", I32_3)]);
    push(&mut record.headers, EXCEPTION);
    push(&mut record.headers, ORIGIN);
    record
}

#[test]
fn the_origin_and_the_failure_are_read() {
    let record = written();
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.dialect(), Some(Dialect::Spring));
    assert_eq!(letter.origin().to_string(), "orders-3@4211");
    assert_eq!(letter.last_hop(), letter.origin());
    assert_eq!(letter.group().as_deref(), Some("billing"));
    assert_eq!(letter.attempts(), Some(3));
    assert_eq!(letter.original_timestamp_ms(), Some(1_700_000_000_000));
    assert_eq!(letter.original_timestamp_type(), Some(TimestampType::CreateTime));
    assert_eq!(letter.missing(), []);
    assert_eq!(letter.damage(), []);
    assert_eq!(letter.way_back(), Ok(letter.origin()));
}

#[test]
fn the_applications_class_is_read_and_not_the_wrappers() {
    let record = written();
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.class().as_deref(), Some("com.shop.CardDeclined"));
    assert_eq!(letter.message().as_deref(), Some("card declined"));
    assert_eq!(letter.reason().as_deref(), Some("com.shop.CardDeclined"));
}

#[test]
fn only_the_applications_headers_go_back() {
    let mut record = written();
    record.headers.push("springDeserializerExceptionValue", [0xac, 0xed, 0, 5]);
    assert_eq!(DeadLetter::of(&record).application_headers(), headers(APPLICATION));
}

#[test]
fn version_2_names_the_class_in_the_message_alone() {
    let lines: Lines<'_> = &[
        ("kafka_dlt-original-topic", Some(b"orders")),
        ("kafka_dlt-original-partition", I32_3),
        ("kafka_dlt-original-offset", I64_4211),
        ("kafka_dlt-exception-fqcn", Some(b"org.springframework.kafka.listener.ListenerExecutionFailedException")),
        (
            "kafka_dlt-exception-message",
            Some(b"Listener failed; nested exception is java.lang.IllegalStateException: boom: twice"),
        ),
    ];
    let record = with("orders.DLT", lines);
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.class().as_deref(), Some("java.lang.IllegalStateException"));
    assert_eq!(letter.message().as_deref(), Some("boom: twice"));
    assert_eq!(letter.group(), None, "2.7 writes no group");
    assert_eq!(letter.missing(), [Missing::Timestamp, Missing::Group, Missing::Attempts]);
}

#[test]
fn the_cause_of_a_failed_deserialization_is_found_in_the_stack_trace() {
    let class: Option<&[u8]> = Some(b"org.springframework.kafka.support.serializer.DeserializationException");
    let mut record = with("orders-dlt", &[
        ("springDeserializerExceptionValue", Some(&[0xac, 0xed, 0x00, 0x05, 0xff])),
        ("kafka_dlt-exception-fqcn", class),
        ("kafka_dlt-exception-cause-fqcn", class),
        ("kafka_dlt-exception-message", Some(b"failed to deserialize")),
        (
            "kafka_dlt-exception-stacktrace",
            Some(b"x.DeserializationException: failed\r\n\tat x\r\nCaused by: y.Outer: 1\r\nCaused by: com.fasterxml.JsonParseException: bad\r\n"),
        ),
    ]);
    push(&mut record.headers, ORIGIN);
    let letter = DeadLetter::of(&record);
    assert!(letter.is_undecodable());
    assert_eq!(letter.cause_class().as_deref(), Some("com.fasterxml.JsonParseException"));
    assert!(letter.application_headers().is_empty());
}

#[test]
fn a_batch_listeners_exception_is_found_behind_the_one_that_names_the_record() {
    let of_a_batch: Lines<'_> = &[
        ("kafka_dlt-exception-fqcn", Some(b"org.springframework.kafka.listener.ListenerExecutionFailedException")),
        ("kafka_dlt-exception-cause-fqcn", Some(b"org.springframework.kafka.listener.BatchListenerFailedException")),
        ("kafka_dlt-exception-message", Some(b"Listener failed; order 0 of the batch @-0")),
    ];
    let trace = |of: &str| {
        format!(
            "org.springframework.kafka.listener.ListenerExecutionFailedException: Listener failed\n\tat a.b(C.java:1)\n\
             Caused by: org.springframework.kafka.listener.BatchListenerFailedException: order 0 of the batch @-0\n\
             \tat spring.Recoverer.declineSome(Recoverer.java:109)\n\t... 10 more\n{of}"
        )
    };
    let written = |of: &str| {
        let mut record = with("orders-dlt", of_a_batch);
        record.headers.push("kafka_dlt-exception-stacktrace", trace(of));
        push(&mut record.headers, ORIGIN);
        record
    };
    let record = written(
        "Caused by: spring.Declined: card declined\n\t... 12 more\n\tSuppressed: x.Closing: 1\n\tCaused by: x.Other: 2\n\
         Caused by: java.io.IOException: no route to the bank\n\tat spring.Declined.<init>(Declined.java:8)\n",
    );
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.class().as_deref(), Some("spring.Declined"));
    assert_eq!(letter.message().as_deref(), Some("card declined"));
    assert_eq!(letter.reason().as_deref(), Some("spring.Declined"));
    assert_eq!(letter.cause_class().as_deref(), Some("java.io.IOException"));

    let silent = written("Caused by: spring.Declined\r\n\t... 12 more\r\n");
    let letter = DeadLetter::of(&silent);
    assert_eq!((letter.class().as_deref(), letter.message()), (Some("spring.Declined"), None));

    // The listener gave no cause, or the trace is switched off.
    for record in [written(""), with("orders-dlt", of_a_batch)] {
        let letter = DeadLetter::of(&record);
        let class = "org.springframework.kafka.listener.BatchListenerFailedException";
        assert_eq!(letter.class().as_deref(), Some(class));
        assert_eq!(letter.message().as_deref(), Some("order 0 of the batch @-0"));
    }
}

#[test]
fn a_key_that_alone_cannot_be_decoded_is_told() {
    let mut record = with(
        "orders-dlt",
        &[
            (
                "kafka_dlt-key-exception-fqcn",
                Some(b"org.springframework.kafka.support.serializer.DeserializationException"),
            ),
            ("kafka_dlt-key-exception-message", Some(b"failed to deserialize")),
            ("kafka_dlt-key-exception-stacktrace", Some(b"Caused by: java.io.EOFException\n")),
            (
                "kafka_dlt-exception-cause-fqcn",
                Some(b"org.springframework.kafka.support.serializer.DeserializationException"),
            ),
        ],
    );
    push(&mut record.headers, ORIGIN);
    let letter = DeadLetter::of(&record);
    assert!(letter.is_undecodable());
    assert_eq!(letter.message().as_deref(), Some("failed to deserialize"));
    assert_eq!(letter.cause_class().as_deref(), Some("java.io.EOFException"));
    assert_eq!(letter.origin().to_string(), "orders-3@4211");
}

#[test]
fn a_second_hop_appends_and_the_first_one_stays_the_origin() {
    let mut record = written();
    push(
        &mut record.headers,
        &[
            ("kafka_dlt-original-topic", Some(b"orders-dlt")),
            ("kafka_dlt-original-partition", I32_3),
            ("kafka_dlt-original-offset", Some(&[0, 0, 0, 0, 0, 0, 0, 9])),
            ("kafka_dlt-original-timestamp", Some(&[0, 0, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x01])),
            ("kafka_dlt-original-timestamp-type", Some(b"CreateTime")),
            ("kafka_dlt-original-consumer-group", Some(b"janitor")),
        ],
    );
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.origin().to_string(), "orders-3@4211");
    assert_eq!(letter.last_hop().to_string(), "orders-dlt-3@9");
    assert_eq!(letter.life(), letter.origin());
    assert_eq!(letter.group().as_deref(), Some("janitor"), "of the last failure");
    assert_eq!(letter.original_timestamp_ms(), Some(1_700_000_000_000), "of the origin");
    assert_eq!(letter.hops().len(), 2);
    assert_eq!(letter.application_headers(), headers(APPLICATION));
}

#[test]
fn a_record_that_was_sent_back_with_its_headers_lives_again() {
    let mut record = written();
    push(
        &mut record.headers,
        &[
            ("kafka_deliveryAttempt", Some(&[0, 0, 0, 1])),
            ("kafka_dlt-original-topic", Some(b"orders")),
            ("kafka_dlt-original-partition", I32_3),
            ("kafka_dlt-original-offset", Some(&[0, 0, 0, 0, 0, 0, 0x20, 0])),
        ],
    );
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.origin().to_string(), "orders-3@4211");
    assert_eq!(letter.life().to_string(), "orders-3@8192");
    assert_eq!(letter.attempts(), Some(1), "of the last life");
}

#[test]
fn a_custom_destination_and_switched_off_headers_leave_the_origin() {
    let record = with("parked", &ORIGIN[..3]);
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.origin().to_string(), "orders-3@4211");
    assert_eq!((letter.group(), letter.class(), letter.trace()), (None, None, None));
}

#[test]
fn bytes_that_a_string_serde_has_replaced_are_damage() {
    let mut record = written();
    record.value = Some("{\"name\":\"M\u{fffd}ller\"}".into());
    let letter = DeadLetter::of(&record);
    assert_eq!(letter.damage(), [Damage::ReplacedInValue]);
    assert!(letter.refusal().is_some());
    // The control: the same bytes but one.
    record.value = Some("{\"name\":\"Müller\"}".into());
    assert_eq!(DeadLetter::of(&record).damage(), []);
}

#[test]
fn what_we_write_in_it_is_what_spring_writes() {
    let failure = Failure {
        timestamp_ms: Some(1_700_000_000_000),
        timestamp_type: Some(TimestampType::CreateTime),
        group: Some("billing"),
        class: Some("CardDeclined"),
        message: Some("card declined"),
        ..Failure::at("orders", 3, 4211)
    };
    let mut written = headers(APPLICATION);
    dialect::spring::write(&failure, &mut written);
    let mut expected = headers(APPLICATION);
    push(
        &mut expected,
        &[("kafka_dlt-exception-fqcn", Some(b"CardDeclined")), ("kafka_dlt-exception-message", Some(b"card declined"))],
    );
    push(&mut expected, ORIGIN);
    assert_eq!(written, expected);
}

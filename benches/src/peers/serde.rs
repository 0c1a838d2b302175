//! schema_registry_converter, and the bare libraries under both.

use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use prost::Message as _;
use schema_registry_converter::async_impl::avro::{AvroDecoder, AvroEncoder};
use schema_registry_converter::async_impl::json::JsonEncoder;
use schema_registry_converter::async_impl::proto_raw::ProtoRawEncoder;
use schema_registry_converter::async_impl::schema_registry::SrSettings;
use schema_registry_converter::schema_registry_common::SubjectNameStrategy;

use crate::frame::{Load, Outcome, Sample};
use crate::meter::{Window, bytes_asked};
use crate::ours::serde::hostile::AVRO_CLAIM;
use crate::ours::serde::{AVRO, JSON, Message, Order, PROTO, message, order};

/// A registry that answers every question with the one schema, id 1. Ends with the process.
fn registry(schema: &'static str) -> Outcome<SrSettings> {
    // Fails where it is set already, which is what is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    thread::spawn(move || listener.incoming().flatten().try_for_each(|stream| answer(stream, schema)));
    Ok(SrSettings::new_builder(url).no_proxy().build()?)
}

fn answer(stream: TcpStream, schema: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(&stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    reader.take(length).read_to_end(&mut Vec::new())?;
    let kind = match schema {
        AVRO => "AVRO",
        PROTO => "PROTOBUF",
        _ => "JSON",
    };
    let body = serde_json::json!({
        "id": 1, "version": 1, "subject": "orders-value", "schema": schema, "schemaType": kind
    });
    let body = body.to_string();
    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length";
    write!(&stream, "{head}: {}\r\n\r\n{body}", body.len())
}

fn runtime() -> Outcome<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

pub(crate) fn avro_encode(load: &Load) -> Outcome<Sample> {
    let encoder = AvroEncoder::new(registry(AVRO)?);
    let subject = SubjectNameStrategy::TopicNameStrategy("orders".into(), false);
    let value = order();
    runtime()?.block_on(async {
        encoder.encode_struct(&value, &subject).await?;
        let window = Window::open();
        for _ in 0..load.messages {
            black_box(encoder.encode_struct(black_box(&value), &subject).await?);
        }
        Ok(Sample::rate(load.messages, window.close()))
    })
}

pub(crate) fn avro_decode(load: &Load) -> Outcome<Sample> {
    let (decoder, encoder) = (AvroDecoder::new(registry(AVRO)?), AvroEncoder::new(registry(AVRO)?));
    let subject = SubjectNameStrategy::TopicNameStrategy("orders".into(), false);
    runtime()?.block_on(async {
        let bytes = encoder.encode_struct(order(), &subject).await?;
        decoder.decode(Some(&bytes)).await?;
        let window = Window::open();
        for _ in 0..load.messages {
            let decoded = decoder.decode(Some(black_box(&bytes))).await?;
            black_box(apache_avro::from_value::<Order>(&decoded.value)?);
        }
        Ok(Sample::rate(load.messages, window.close()))
    })
}

pub(crate) fn apache_encode(load: &Load) -> Outcome<Sample> {
    let schema = apache_avro::Schema::parse_str(AVRO)?;
    let writer = apache_avro::writer::datum::GenericDatumWriter::builder(&schema).build()?;
    let (value, mut out) = (order(), Vec::with_capacity(256));
    let window = Window::open();
    for _ in 0..load.messages {
        out.clear();
        out.extend_from_slice(&[0, 0, 0, 0, 1]);
        writer.write_ser(&mut out, black_box(&value))?;
        black_box(&out);
    }
    Ok(Sample::rate(load.messages, window.close()))
}

pub(crate) fn apache_decode(load: &Load) -> Outcome<Sample> {
    let schema = apache_avro::Schema::parse_str(AVRO)?;
    let bytes = apache_avro::writer::datum::GenericDatumWriter::builder(&schema).build()?.write_ser_to_vec(&order())?;
    let reader = apache_avro::reader::datum::GenericDatumReader::builder(&schema).build()?;
    let window = Window::open();
    for _ in 0..load.messages {
        black_box(reader.read_deser::<Order>(&mut &black_box(&bytes)[..])?);
    }
    Ok(Sample::rate(load.messages, window.close()))
}

pub(crate) fn json_encode(load: &Load) -> Outcome<Sample> {
    let (value, mut out) = (order(), Vec::with_capacity(256));
    let window = Window::open();
    for _ in 0..load.messages {
        out.clear();
        out.extend_from_slice(&[0, 0, 0, 0, 1]);
        serde_json::to_writer(&mut out, black_box(&value))?;
        black_box(&out);
    }
    Ok(Sample::rate(load.messages, window.close()))
}

pub(crate) fn json_decode(load: &Load) -> Outcome<Sample> {
    let bytes = serde_json::to_vec(&order())?;
    let window = Window::open();
    for _ in 0..load.messages {
        black_box(serde_json::from_slice::<Order>(black_box(&bytes))?);
    }
    Ok(Sample::rate(load.messages, window.close()))
}

pub(crate) fn json_checked(load: &Load) -> Outcome<Sample> {
    let encoder = JsonEncoder::new(registry(JSON)?);
    let subject = || SubjectNameStrategy::TopicNameStrategy("orders".into(), false);
    let value = order();
    runtime()?.block_on(async {
        encoder.encode(&serde_json::to_value(&value)?, subject()).await?;
        let window = Window::open();
        for _ in 0..load.messages {
            let document = serde_json::to_value(black_box(&value))?;
            black_box(encoder.encode(&document, subject()).await?);
        }
        Ok(Sample::rate(load.messages, window.close()))
    })
}

pub(crate) fn json_validated(load: &Load) -> Outcome<Sample> {
    let validator = jsonschema::validator_for(&serde_json::from_str(JSON)?)?;
    let value = order();
    let window = Window::open();
    for _ in 0..load.messages {
        let document = serde_json::to_value(black_box(&value))?;
        validator.validate(&document).map_err(|error| error.to_string())?;
        let mut out = vec![0, 0, 0, 0, 1];
        serde_json::to_writer(&mut out, &document)?;
        black_box(&out);
    }
    Ok(Sample::rate(load.messages, window.close()))
}

pub(crate) fn protobuf_encode(load: &Load) -> Outcome<Sample> {
    let (value, mut out) = (message(), Vec::with_capacity(256));
    let window = Window::open();
    for _ in 0..load.messages {
        out.clear();
        out.extend_from_slice(&[0, 0, 0, 0, 1, 0]);
        black_box(&value).encode(&mut out)?;
        black_box(&out);
    }
    Ok(Sample::rate(load.messages, window.close()))
}

pub(crate) fn protobuf_raw(load: &Load) -> Outcome<Sample> {
    let encoder = ProtoRawEncoder::new(registry(PROTO)?);
    let value = message();
    let subject = || SubjectNameStrategy::TopicNameStrategy("orders".into(), false);
    runtime()?.block_on(async {
        encoder.encode(&value.encode_to_vec(), "shop.Order", subject()).await?;
        let window = Window::open();
        for _ in 0..load.messages {
            let bytes = black_box(&value).encode_to_vec();
            black_box(encoder.encode(&bytes, "shop.Order", subject()).await?);
        }
        Ok(Sample::rate(load.messages, window.close()))
    })
}

pub(crate) fn protobuf_decode(load: &Load) -> Outcome<Sample> {
    let bytes = message().encode_to_vec();
    let window = Window::open();
    for _ in 0..load.messages {
        black_box(Message::decode(&black_box(&bytes)[..])?);
    }
    Ok(Sample::rate(load.messages, window.close()))
}

pub(crate) fn hostile(_load: &Load) -> Outcome<Sample> {
    let (decoder, encoder) = (AvroDecoder::new(registry(AVRO)?), AvroEncoder::new(registry(AVRO)?));
    let subject = SubjectNameStrategy::TopicNameStrategy("orders".into(), false);
    let runtime = runtime()?;
    runtime.block_on(async { decoder.decode(Some(&encoder.encode_struct(order(), &subject).await?)).await })?;
    let window = Window::open();
    match bytes_asked(|| runtime.block_on(decoder.decode(Some(&AVRO_CLAIM)))) {
        (Err(_), asked) => Ok(Sample::bytes(asked as f64, 1, window.close())),
        (Ok(_), _) => Err("six bytes were taken for a record".into()),
    }
}

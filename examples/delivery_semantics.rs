//! What is lost, and what is handled twice, when a consumer is killed in the middle?
//!
//! This program runs a broker, and starts itself again as a consumer of payments. It kills that process while it
//! handles one of them, starts another, and compares: once for each guarantee.

use std::convert::Infallible;
use std::env;
use std::error::Error;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kafka_client::{Guarantee, I32, Json, Kafka, NoKey, Received, Topic, TopicSpec};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
fn main() {}

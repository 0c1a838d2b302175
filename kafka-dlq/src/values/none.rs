//! What stands in for [`Values`] without the feature `registry`: nobody makes one.

#![allow(dead_code, clippy::unused_async, clippy::unnecessary_wraps, reason = "it has the shape of the other one")]

use kafka_client::{BoxError, RawRecord};

use crate::error::Error;

pub(crate) const PASSES: usize = 8;

#[derive(Clone)]
pub(crate) struct Values(());

impl Values {
    pub(crate) fn check(&self, _: &RawRecord) -> Result<(), BoxError> {
        Ok(())
    }

    pub(crate) async fn resolve(&self) -> Result<bool, Error> {
        Ok(false)
    }
}

#[cfg(feature = "expressions")]
impl Values {
    pub(crate) fn decoded(&self, _: Option<&[u8]>, _: &str, _: kafka_client::serde::Part) -> Option<serde_json::Value> {
        None
    }

    pub(crate) fn written(&self, value: serde_json::Value, _: Option<&[u8]>, _: &str) -> Result<Vec<u8>, BoxError> {
        Ok(value.to_string().into_bytes())
    }
}

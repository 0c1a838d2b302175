//! What stands in for [`Values`] without the feature `registry`: there are none.

use kafka_client::{BoxError, RawRecord};

use crate::error::Error;

pub(crate) const PASSES: usize = 0;

#[derive(Clone)]
pub(crate) enum Values {}

impl Values {
    pub(crate) fn check(&self, _: &RawRecord) -> Result<(), BoxError> {
        match *self {}
    }

    pub(crate) fn is_behind(&self) -> bool {
        match *self {}
    }

    #[expect(clippy::unused_async, reason = "the other one waits")]
    pub(crate) async fn resolve(&self) -> Result<(), Error> {
        match *self {}
    }
}

#[cfg(feature = "expressions")]
impl Values {
    pub(crate) fn decoded(&self, _: Option<&[u8]>, _: &str, _: Part) -> Option<serde_json::Value> {
        match *self {}
    }

    pub(crate) fn written(&self, _: serde_json::Value, _: Option<&[u8]>, _: &str) -> Result<Vec<u8>, BoxError> {
        match *self {}
    }
}

#[cfg(feature = "expressions")]
use kafka_client::serde::Part;

//! A payload that is decoded into types which borrow from it.

use std::sync::Arc;

use serde::de::Deserialize;

use super::AvroFormat;
use super::plan::Plan;
use crate::optional::required;
use crate::registered::{Compiled, Format, Registered, compiled};
use crate::wire::Frame;
use crate::{Error, ErrorKind, SchemaId, Source, Stop};

/// A payload and the plan to read it by; from [`Avro::view`](crate::Avro::view).
pub struct AvroView<'a> {
    plan: Arc<Compiled<Plan>>,
    id: SchemaId,
    data: &'a [u8],
}

impl<'a> AvroView<'a> {
    pub(super) fn new(
        registered: &Registered<AvroFormat>,
        bytes: Option<&'a [u8]>,
        from: &Source<'a>,
    ) -> Result<Self, Stop> {
        let frame = Frame::read(required(bytes, AvroFormat::NAME)?, from)?;
        Ok(Self { plan: registered.reader(frame.id)?, id: frame.id, data: frame.data()? })
    }

    /// Decodes the payload; `U` may borrow from it, as `&str` and `&[u8]` do.
    ///
    /// The borrow is as long as this view's, since what a field defaults to is not in the payload.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`] where the data does not fit `U`, [`ErrorKind::InvalidSchema`] where its schema does not.
    pub fn get<'v, U: Deserialize<'v>>(&'v self) -> Result<U, Error> {
        let plan = compiled(&self.plan, self.id)?;
        super::read(plan, self.data).map_err(|fault| fault.into_error(ErrorKind::Malformed).with_schema(self.id))
    }

    /// The schema that the payload was written with.
    pub fn schema_id(&self) -> SchemaId {
        self.id
    }
}

impl std::fmt::Debug for AvroView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AvroView").field("schema", &self.id).field("bytes", &self.data.len()).finish()
    }
}

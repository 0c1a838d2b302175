//! Records by the batch, as raw bytes or as a stream: all of them, in order, and finished as one says.

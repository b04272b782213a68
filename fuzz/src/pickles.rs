//! What a fuzzer and the tests of hostile files do with a pickled checkpoint: read it, and look at
//! every tensor it claims to hold.

use std::sync::Arc;

use pochade::files::{FileBytes, FileError};
use pochade_quantize::checkpoint;

/// The bytes as a pickled checkpoint of either layout.
pub fn pickle(bytes: &[u8]) -> Result<(), FileError> {
    for table in checkpoint::parse("fuzz", FileBytes::Owned(Arc::from(bytes)))? {
        for tensor in table.tensors() {
            if let Ok(view) = table.view_of(tensor) {
                assert_eq!(view.to_f32().len(), tensor.len());
            }
        }
    }
    Ok(())
}

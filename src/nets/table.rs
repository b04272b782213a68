//! A table of vectors that is looked up by row: token, position and class embeddings.

use pochade_engine::{DType, TensorView};

use crate::files::{FileError, TableBytes, Weights};

/// `[rows, width]`, in the encoding of the file and where possible in the file itself, from which a row
/// is read when it is looked up.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    dtype: DType,
    shape: [usize; 2],
    bytes: TableBytes,
}

impl Table {
    /// The tensor `name`, which must be `[rows, width]`.
    pub fn load(w: &Weights<'_>, name: &str, shape: [usize; 2]) -> Result<Self, FileError> {
        let (dtype, bytes) = w.table(name, shape)?;
        Ok(Self { dtype, shape, bytes })
    }

    pub fn rows(&self) -> usize {
        self.shape[0]
    }

    pub fn width(&self) -> usize {
        self.shape[1]
    }

    /// Row `index`, if there is one.
    pub fn row(&self, index: usize) -> Option<Vec<f32>> {
        let size = self.dtype.bytes_of(self.width())?;
        let bytes = self.bytes.get(index.checked_mul(size)?..(index + 1).checked_mul(size)?)?;
        TensorView::new(self.dtype, &self.shape[1..], bytes).map(|row| row.to_f32())
    }

    /// The table seen as a matrix times `x: [width]`: `[rows]`, summed in the order of the columns.
    pub fn times(&self, x: &[f32]) -> Vec<f32> {
        let dot = |row: Vec<f32>| row.iter().zip(x).fold(0.0, |sum, (a, b)| sum + a * b);
        (0..self.rows()).filter_map(|r| self.row(r)).map(dot).collect()
    }
}

//! Matrix products by the engine: as fast as its layers, and the same bits on every machine.

use anyhow::Context;
use pochade_engine::{DType, Engine, Filter, Graph, Plan, Rate, Session, Shape, TensorView};

/// A matrix, row by row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix<'a> {
    pub values: &'a [f32],
    pub columns: usize,
}

/// `a: [m][k]`, `b: [n][k]` -> `a * b^T: [m][n]`.
pub(super) fn times_transposed(
    engine: &mut Engine,
    a: Matrix<'_>,
    b: Matrix<'_>,
) -> anyhow::Result<Vec<f32>> {
    let (rows, outputs) = (a.values.len() / a.columns, b.values.len() / b.columns);
    if rows == 0 {
        return Ok(Vec::new());
    }
    let filter = with_view(b.values, &[outputs, b.columns], |view| Filter::linear(view, None))??;
    let mut g = Graph::named("matrix product");
    let input = g.input(Shape::tokens(1, rows, a.columns), Rate::Run);
    let output = g.linear(input, &filter.into());
    g.output(output);
    let mut session = Session::new(engine, Plan::new(&g)?);
    session.setup(engine, &[]);
    session.run(engine, &[(input, a.values)]);
    Ok(session.output(output).to_vec())
}

/// Shows values as a stored tensor.
pub(super) fn with_view<T>(
    values: &[f32],
    shape: &[usize],
    look: impl FnOnce(&TensorView<'_>) -> T,
) -> anyhow::Result<T> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let view = TensorView::new(DType::F32, shape, &bytes);
    Ok(look(&view.with_context(|| format!("{} values are not {shape:?}", values.len()))?))
}

//! ggml's blocks: 32 values of a row with a step in f16, as every reader of GGUF knows them.
//!
//! The integers are those of ggml's reference quantiser: halves are rounded away from zero.

use half::f16;
use pochade_engine::DType;

/// Values of a block.
const BLOCK: usize = 32;

/// Appends `values`, whole blocks, in `dtype`; false where that is not a type in blocks, or a value
/// is not such as a block can hold.
pub fn append(bytes: &mut Vec<u8>, values: &[f32], dtype: DType) -> bool {
    let block = match dtype {
        DType::Q8_0 => q8_0,
        DType::Q4_0 => q4_0,
        _ => return false,
    };
    values.as_chunks().0.iter().all(|values| block(bytes, values))
}

/// The step in f16, unless it is beyond that.
fn put_step(bytes: &mut Vec<u8>, step: f32) -> bool {
    let step = f16::from_f32(step);
    bytes.extend(step.to_le_bytes());
    step.is_finite()
}

/// The values in steps: their inverse is taken of the step before it was narrowed.
fn inverse(step: f32) -> f32 {
    if step == 0.0 { 0.0 } else { 1.0 / step }
}

/// The widest value is 127 steps.
fn q8_0(bytes: &mut Vec<u8>, values: &[f32; BLOCK]) -> bool {
    let step = values.iter().fold(0.0_f32, |m, v| m.max(v.abs())) / 127.0;
    let inverse = inverse(step);
    let finite = put_step(bytes, step) && values.iter().all(|v| v.is_finite());
    bytes.extend(values.iter().map(|v| ((v * inverse).round() as i8).cast_unsigned()));
    finite
}

/// The widest value is -8 steps.
fn q4_0(bytes: &mut Vec<u8>, values: &[f32; BLOCK]) -> bool {
    let widest = values.iter().fold(0.0_f32, |m, v| if v.abs() > m.abs() { *v } else { m });
    let step = widest / -8.0;
    let inverse = inverse(step);
    let finite = put_step(bytes, step) && values.iter().all(|v| v.is_finite());
    let level = |v: f32| (v * inverse + 8.5).clamp(0.0, 15.0) as u8;
    let (low, high) = values.split_at(BLOCK / 2);
    bytes.extend(low.iter().zip(high).map(|(l, h)| level(*l) | level(*h) << 4));
    finite
}

#[cfg(test)]
mod tests {
    use pochade_engine::TensorView;

    use super::*;

    fn back(dtype: DType, values: &[f32; BLOCK]) -> Vec<f32> {
        let mut bytes = Vec::new();
        assert!(append(&mut bytes, values, dtype));
        TensorView::new(dtype, &[BLOCK], &bytes).expect("a block").to_f32()
    }

    #[test]
    fn what_fits_the_levels_comes_back() {
        let eighths: [f32; BLOCK] = std::array::from_fn(|i| (i as f32 - 16.0) / 16.0 * 127.0);
        let found = back(DType::Q8_0, &eighths);
        assert!(found.iter().zip(&eighths).all(|(a, b)| (a - b).abs() <= 0.5));
        let levels: [f32; BLOCK] = std::array::from_fn(|i| i as f32 % 16.0 - 8.0);
        assert_eq!(back(DType::Q4_0, &levels), levels);
    }

    #[test]
    fn zeros_stay_zeros_and_what_is_no_number_is_refused() {
        for dtype in [DType::Q8_0, DType::Q4_0] {
            assert_eq!(back(dtype, &[0.0; BLOCK]), [0.0; BLOCK]);
            for bad in [f32::NAN, f32::INFINITY, f32::MAX] {
                let mut values = [1.0; BLOCK];
                values[3] = bad;
                assert!(!append(&mut Vec::new(), &values, dtype), "{bad}");
            }
        }
    }
}

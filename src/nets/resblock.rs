//! The UNet's residual block (ResBlock of ADM, Dhariwal and Nichol 2021, as latent diffusion uses
//! it).

use std::sync::Arc;

use pochade_engine::{ConvSpec, Filter, Graph, Norm, Value};

use crate::files::{FileError, Weights};

/// Whether a block also changes the size of its feature map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resize {
    Keep,
    /// Halves by averaging.
    Down,
    /// Doubles by repetition.
    Up,
}

/// What all residual blocks of one UNet share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResBlockStyle {
    pub time_embed_dim: usize,
    /// The time scales and shifts the second norm's output instead of being added before it.
    pub scale_shift: bool,
    pub groups: usize,
    pub eps: f32,
}

/// Norm, SiLU, convolution, time, norm, SiLU, convolution, beside a shortcut.
#[derive(Clone, Debug)]
pub(crate) struct ResBlock {
    style: ResBlockStyle,
    resize: Resize,
    /// `[c_in]`.
    in_norm: Arc<Norm>,
    /// `[c_out, c_in, 3, 3]`.
    in_conv: Arc<Filter>,
    /// `[c_out, time_embed_dim]`, twice the outputs with scale and shift.
    emb: Arc<Filter>,
    /// `[c_out]`.
    out_norm: Arc<Norm>,
    /// `[c_out, c_out, 3, 3]`.
    out_conv: Arc<Filter>,
    /// `[c_out, c_in, 1, 1]` where the widths differ: one filter, or one for each of two values side
    /// by side.
    skip: Vec<Arc<Filter>>,
}

impl ResBlock {
    pub fn load(
        w: &Weights<'_>,
        style: ResBlockStyle,
        (c_in, c_out): (usize, usize),
        resize: Resize,
    ) -> Result<Self, FileError> {
        let emb_width = if style.scale_shift { 2 * c_out } else { c_out };
        let skip = || w.at("skip_connection").conv_of_joined(c_out, c_in, 1);
        Ok(Self {
            style,
            resize,
            in_norm: w.at("in_layers.0").norm(c_in)?,
            in_conv: w.at("in_layers.2").conv(c_out, c_in, 3)?,
            emb: w.at("emb_layers.1").linear(emb_width, style.time_embed_dim)?,
            out_norm: w.at("out_layers.0").norm(c_out)?,
            out_conv: w.at("out_layers.3").conv(c_out, c_out, 3)?,
            skip: (c_in != c_out).then(skip).transpose()?.unwrap_or_default(),
        })
    }

    /// `x: [n, h, w, c_in]`, `emb: [n, time_embed_dim]` after SiLU -> `[n, h', w', c_out]`.
    pub fn forward(&self, g: &mut Graph, x: Value, emb: Value) -> Value {
        let h = self.norm_silu(g, x, &self.in_norm);
        let (h, x) = self.resize_both(g, h, x);
        // Before the second convolution, so that `x` need not wait for it.
        let x = self.shortcut(g, x);
        let e = g.linear(emb, &self.emb);
        let h = if self.style.scale_shift {
            let h = g.group_norm(h, &self.out_norm, self.style.groups, self.style.eps);
            let h = g.scale_shift(h, e);
            g.silu(h)
        } else {
            let h = g.add_vector(h, e);
            self.norm_silu(g, h, &self.out_norm)
        };
        let h = g.conv(h, &self.out_conv, ConvSpec::same(3));
        g.add(h, x)
    }

    /// `[n, h, w, c_in] -> [n, h, w, c_out]`.
    fn shortcut(&self, g: &mut Graph, x: Value) -> Value {
        match (&self.skip[..], g.joined(x)) {
            ([first, second], Some([a, b])) => {
                let a = g.conv(a, first, ConvSpec::same(1));
                let b = g.conv(b, second, ConvSpec::same(1));
                g.add(b, a)
            }
            ([skip, ..], _) => g.conv(x, skip, ConvSpec::same(1)),
            ([], _) => x,
        }
    }

    fn norm_silu(&self, g: &mut Graph, x: Value, norm: &Arc<Norm>) -> Value {
        let h = g.group_norm(x, norm, self.style.groups, self.style.eps);
        g.silu(h)
    }

    /// The first convolution of `h`, and the shortcut's `x`, both at the block's output size.
    fn resize_both(&self, g: &mut Graph, h: Value, x: Value) -> (Value, Value) {
        match self.resize {
            Resize::Keep => (g.conv(h, &self.in_conv, ConvSpec::same(3)), x),
            Resize::Up => (g.conv(h, &self.in_conv, ConvSpec::up(3)), g.upsample(x)),
            Resize::Down => {
                let h = g.avg_pool(h);
                (g.conv(h, &self.in_conv, ConvSpec::same(3)), g.avg_pool(x))
            }
        }
    }
}

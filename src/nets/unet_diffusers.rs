//! A UNet's architecture from the `config.json` of diffusers: `UNet2DConditionModel`, and
//! `UNet2DModel` as far as it is latent diffusion's UNet without a context.

use pochade_engine::Padding;
use serde_json::{Value, json};

use super::config::{Fields, MAX_CHANNELS, MAX_LAYERS, MAX_LEVELS, MAX_ROWS};
use super::{Attention, ConfigError, Level, Middle, Resample, UNetConfig, VectorInput};

const CONDITION: &str = "UNet2DConditionModel";
const PLAIN: &str = "UNet2DModel";

impl UNetConfig {
    /// Reads the config of a `UNet2DConditionModel` or a `UNet2DModel`.
    ///
    /// # Errors
    /// Names the first field with a value that no UNet here can be built from, and what it may be.
    pub fn from_diffusers(json: &Value) -> Result<Self, ConfigError> {
        let fields = Fields::new("UNet", json)?;
        match fields.word("_class_name", CONDITION)? {
            CONDITION => conditional(&Fields::new(CONDITION, json)?),
            PLAIN => plain(&Fields::new(PLAIN, json)?),
            _ => Err(fields.unsupported("_class_name", format!("{CONDITION}, {PLAIN}"))),
        }
    }
}

/// The block classes of one kind of UNet, on the way down and on the way up.
struct Types {
    /// Without attention, with it, and without it but with residual blocks that resize.
    names: [[&'static str; 3]; 2],
    defaults: [&'static [&'static str]; 2],
}

const CONDITION_TYPES: Types = Types {
    names: [
        ["DownBlock2D", "CrossAttnDownBlock2D", "ResnetDownsampleBlock2D"],
        ["UpBlock2D", "CrossAttnUpBlock2D", "ResnetUpsampleBlock2D"],
    ],
    defaults: [
        &["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
        &["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    ],
};

const PLAIN_TYPES: Types = Types {
    names: [
        ["DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D"],
        ["UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"],
    ],
    defaults: [
        &["DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
        &["AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    ],
};

/// What kind of block a level is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Attention,
    Resizing,
}

/// The kinds of all levels, from the full resolution down.
struct Kinds {
    down: Vec<Kind>,
    up: Vec<Kind>,
}

impl Kinds {
    fn read(fields: &Fields<'_>, types: &Types) -> Result<Self, ConfigError> {
        let read = |field, way: usize| {
            let words = fields.words(field, types.defaults[way])?;
            let names = &types.names[way];
            let kind = |word: &&str| {
                let at = names.iter().position(|name| name == word)?;
                Some([Kind::Plain, Kind::Attention, Kind::Resizing][at])
            };
            let kinds: Option<Vec<Kind>> = words.iter().map(kind).collect();
            kinds
                .filter(|kinds| (1..=MAX_LEVELS).contains(&kinds.len()))
                .ok_or_else(|| fields.unsupported(field, names.join(", ")))
        };
        let down = read("down_block_types", 0)?;
        let mut up = read("up_block_types", 1)?;
        up.reverse();
        let attends = |kind: &Kind| *kind == Kind::Attention;
        if down.iter().map(attends).eq(up.iter().map(attends)) {
            return Ok(Self { down, up });
        }
        Err(fields.unsupported("up_block_types", "attention at the levels of down_block_types"))
    }

    fn levels(&self) -> usize {
        self.down.len()
    }

    /// How the levels resize, which must be one way for all; `attention` says for the way down and
    /// the way up whether blocks with attention resize by residual blocks.
    fn resample(&self, fields: &Fields<'_>, attention: [bool; 2]) -> Result<Resample, ConfigError> {
        let by_res_block = |kind: &Kind, attention| match kind {
            Kind::Plain => false,
            Kind::Attention => attention,
            Kind::Resizing => true,
        };
        // All levels but the last are halved; all but the first are doubled.
        let halved = self.down[..self.levels() - 1].iter().map(|k| by_res_block(k, attention[0]));
        let doubled = self.up[1..].iter().map(|k| by_res_block(k, attention[1]));
        let mut ways = halved.chain(doubled);
        let first = ways.next().unwrap_or(false);
        if ways.any(|way| way != first) {
            let wanted = "blocks that all resize by convolution, or all by residual blocks";
            return Err(fields.unsupported("down_block_types", wanted));
        }
        if first { Ok(Resample::ResBlock) } else { conv_resample(fields) }
    }
}

fn conv_resample(fields: &Fields<'_>) -> Result<Resample, ConfigError> {
    Ok(Resample::Conv(match fields.get("downsample_padding").map(Value::as_u64) {
        None | Some(Some(1)) => Padding::same(1),
        Some(Some(0)) => Padding { top: 0, left: 0, bottom: 1, right: 1 },
        Some(_) => return Err(fields.unsupported("downsample_padding", "0, 1")),
    }))
}

/// What both classes have in common.
struct Common<'a> {
    fields: &'a Fields<'a>,
    kinds: Kinds,
    channels: Vec<usize>,
    groups: usize,
}

impl<'a> Common<'a> {
    fn read(fields: &'a Fields<'a>, types: &Types, widths: &[usize]) -> Result<Self, ConfigError> {
        fields.only("attention_bias", json!(false))?;
        fields.only("center_input_sample", json!(false))?;
        fields.only("time_embedding_type", json!("positional"))?;
        fields.only("mid_block_scale_factor", json!(1))?;
        fields.one_of("act_fn", "silu", &["silu", "swish"])?;
        let kinds = Kinds::read(fields, types)?;
        let channels = fields.counts("block_out_channels", widths, (1, MAX_CHANNELS))?;
        if channels.len() != kinds.levels() {
            let wanted = format!("a list of {}, one for each down block", kinds.levels());
            return Err(fields.unsupported("block_out_channels", wanted));
        }
        let groups = fields.count("norm_num_groups", 32, MAX_CHANNELS)?;
        fields.divides("norm_num_groups", groups, &channels)?;
        Ok(Self { fields, kinds, channels, groups })
    }

    /// The lowest level, which the middle block shares.
    fn last(&self) -> usize {
        self.channels.len() - 1
    }

    /// Whether level `i` attends.
    fn attends(&self, i: usize) -> bool {
        self.kinds.down[i] == Kind::Attention
    }

    /// The architecture but for conditioning, with the given attention at its levels.
    fn config(
        &self,
        attention: &[Attention],
        middle: Middle,
        resample: Resample,
    ) -> Result<UNetConfig, ConfigError> {
        let fields = self.fields;
        let model_channels = self.channels[0];
        let freq_shift = fields.number("freq_shift", 0.0)?;
        if !(0.0..=1.0).contains(&freq_shift) || model_channels < 4 {
            return Err(fields.unsupported("freq_shift", "0 to 1, with 4 channels at least"));
        }
        let res_blocks =
            fields.per_level("layers_per_block", self.kinds.levels(), 2, MAX_LAYERS)?;
        let level = |i: usize| Level {
            channels: self.channels[i],
            res_blocks: res_blocks[i],
            attention: self.attends(i).then(|| attention[i]),
        };
        Ok(UNetConfig {
            in_channels: fields.count("in_channels", 4, MAX_CHANNELS)?,
            out_channels: fields.count("out_channels", 4, MAX_CHANNELS)?,
            model_channels,
            time_embed_dim: fields.count("time_embedding_dim", 4 * model_channels, MAX_CHANNELS)?,
            levels: (0..self.kinds.levels()).map(level).collect(),
            middle,
            context_width: None,
            vector: VectorInput::None,
            guidance_width: fields.optional_count("time_cond_proj_dim", MAX_CHANNELS)?,
            scale_shift: fields.one_of(
                "resnet_time_scale_shift",
                "default",
                &["default", "scale_shift"],
            )? == "scale_shift",
            resample,
            groups: self.groups,
            norm_eps: fields.positive("norm_eps", 1e-5)?,
            cos_first: fields.flag("flip_sin_to_cos", true)?,
            freq_shift,
        })
    }
}

/// `UNet2DConditionModel`: spatial transformers.
fn conditional(fields: &Fields<'_>) -> Result<UNetConfig, ConfigError> {
    refuse_variants(fields)?;
    let common = Common::read(fields, &CONDITION_TYPES, &[320, 640, 1280, 1280])?;
    let attention = cross_attention(&common)?;
    let middle = match fields.get_or_null("mid_block_type") {
        None => Middle::WithAttention(attention[common.last()]),
        Some(Value::Null) => Middle::Absent,
        Some(Value::String(name)) if name == "UNetMidBlock2DCrossAttn" => {
            Middle::WithAttention(attention[common.last()])
        }
        Some(Value::String(name)) if name == "UNetMidBlock2D" => Middle::ResBlocks(1),
        Some(_) => {
            let wanted = "null, UNetMidBlock2DCrossAttn, UNetMidBlock2D";
            return Err(fields.unsupported("mid_block_type", wanted));
        }
    };
    let resample = common.kinds.resample(fields, [false; 2])?;
    let context_width = context_width(fields, common.kinds.levels())?;
    let config = common.config(&attention, middle, resample)?;
    let vector = vector(fields, context_width)?;
    Ok(UNetConfig { context_width: Some(context_width), vector, ..config })
}

/// Refuses the options of diffusers that lead away from latent diffusion's UNet.
fn refuse_variants(fields: &Fields<'_>) -> Result<(), ConfigError> {
    for (field, value) in [
        ("mid_block_only_cross_attention", json!(false)),
        ("dual_cross_attention", json!(false)),
        ("class_embeddings_concat", json!(false)),
        ("resnet_skip_time_act", json!(false)),
        ("resnet_out_scale_factor", json!(1)),
        ("conv_in_kernel", json!(3)),
        ("conv_out_kernel", json!(3)),
        ("attention_type", json!("default")),
        ("encoder_hid_dim", Value::Null),
        ("encoder_hid_dim_type", Value::Null),
        ("time_embedding_act_fn", Value::Null),
        ("timestep_post_act", Value::Null),
        ("cross_attention_norm", Value::Null),
    ] {
        fields.only(field, value)?;
    }
    let only_cross = fields.get("only_cross_attention");
    let all_false = |list: &Vec<Value>| list.iter().all(|value| value == &json!(false));
    match only_cross {
        None | Some(Value::Bool(false)) => Ok(()),
        Some(Value::Array(list)) if all_false(list) => Ok(()),
        Some(_) => Err(fields.unsupported("only_cross_attention", "false")),
    }
}

/// Heads and depth of every level, whether it attends or not.
///
/// diffusers' `attention_head_dim` means the number of heads here, in spite of its name, unless the
/// config also has `num_attention_heads`.
fn cross_attention(common: &Common<'_>) -> Result<Vec<Attention>, ConfigError> {
    let (fields, levels) = (common.fields, common.kinds.levels());
    let given = fields.get("num_attention_heads").is_some();
    let field = if given { "num_attention_heads" } else { "attention_head_dim" };
    let heads = fields.per_level(field, levels, 8, MAX_CHANNELS)?;
    let depths = fields.per_level("transformer_layers_per_block", levels, 1, MAX_LAYERS)?;
    for i in (0..levels).filter(|&i| common.attends(i) || i == common.last()) {
        fields.divides(field, heads[i], &common.channels[i..=i])?;
    }
    let reversed: Vec<usize> = depths.iter().rev().copied().collect();
    fields.only("reverse_transformer_layers_per_block", json!(reversed))?;
    Ok(heads.into_iter().zip(depths).map(|(heads, depth)| Attention { heads, depth }).collect())
}

/// Width of a context token, which must be the same at every level.
fn context_width(fields: &Fields<'_>, levels: usize) -> Result<usize, ConfigError> {
    let widths = fields.per_level("cross_attention_dim", levels, 1280, MAX_CHANNELS)?;
    if widths.iter().all(|&width| width == widths[0]) {
        return Ok(widths[0]);
    }
    Err(fields.unsupported("cross_attention_dim", "one width for all levels"))
}

/// What joins the time: classes, a projection, or the pooled context.
fn vector(fields: &Fields<'_>, context_width: usize) -> Result<VectorInput, ConfigError> {
    let class = class_vector(fields)?;
    let addition = match fields.word("addition_embed_type", "none")? {
        "none" => return Ok(class),
        "text_time" => projection(fields)?,
        "text" => {
            let heads = fields.count("addition_embed_type_num_heads", 64, MAX_CHANNELS)?;
            fields.divides("addition_embed_type_num_heads", heads, &[context_width])?;
            VectorInput::PooledContext(heads)
        }
        _ => return Err(fields.unsupported("addition_embed_type", "null, text, text_time")),
    };
    if class != VectorInput::None {
        return Err(fields.unsupported("addition_embed_type", "null beside a class embedding"));
    }
    Ok(addition)
}

fn class_vector(fields: &Fields<'_>) -> Result<VectorInput, ConfigError> {
    match fields.word("class_embed_type", "none")? {
        "none" => {
            let classes = fields.optional_count("num_class_embeds", MAX_ROWS)?;
            Ok(classes.map_or(VectorInput::None, VectorInput::Classes))
        }
        "projection" => projection(fields),
        _ => Err(fields.unsupported("class_embed_type", "null, projection")),
    }
}

fn projection(fields: &Fields<'_>) -> Result<VectorInput, ConfigError> {
    let field = "projection_class_embeddings_input_dim";
    let width = fields.optional_count(field, MAX_CHANNELS)?;
    let width = width.ok_or_else(|| fields.unsupported(field, "the width of the vector"))?;
    Ok(VectorInput::Projection(width))
}

/// `UNet2DModel`: attention blocks without a context.
fn plain(fields: &Fields<'_>) -> Result<UNetConfig, ConfigError> {
    let common = Common::read(fields, &PLAIN_TYPES, &[224, 448, 672, 896])?;
    let attention = self_attention(&common)?;
    let middle = match fields.get_or_null("mid_block_type") {
        Some(Value::Null) => Middle::Absent,
        None | Some(Value::String(_)) if fields.flag("add_attention", true)? => {
            Middle::WithAttention(attention[common.last()])
        }
        _ => Middle::ResBlocks(2),
    };
    fields.only("mid_block_type", json!("UNetMidBlock2D"))?;
    let resamples = ["downsample_type", "upsample_type"]
        .map(|field| fields.one_of(field, "conv", &["conv", "resnet"]));
    let [down, up] = resamples;
    let resample = common.kinds.resample(fields, [down? == "resnet", up? == "resnet"])?;
    let config = common.config(&attention, middle, resample)?;
    if matches!(middle, Middle::WithAttention(_)) {
        middle_norm(fields, &config)?;
    }
    let vector = class_vector(fields)?;
    // The class's own defaults are pictures of three channels.
    let channels = |field| fields.count(field, 3, MAX_CHANNELS);
    let (in_channels, out_channels) = (channels("in_channels")?, channels("out_channels")?);
    Ok(UNetConfig { in_channels, out_channels, vector, ..config })
}

/// Here `attention_head_dim` is what it says: the size of a head, or none for a single head.
fn self_attention(common: &Common<'_>) -> Result<Vec<Attention>, ConfigError> {
    let (fields, field) = (common.fields, "attention_head_dim");
    let single = fields.get_or_null(field) == Some(&Value::Null);
    let size = fields.count(field, 8, MAX_CHANNELS)?;
    for i in (0..=common.last()).filter(|&i| !single && (common.attends(i) || i == common.last())) {
        fields.divides(field, size, &common.channels[i..=i])?;
    }
    let heads = |&c: &usize| if single { 1 } else { c / size };
    Ok(common.channels.iter().map(|c| Attention { heads: heads(c), depth: 1 }).collect())
}

/// diffusers leaves the middle's attention without a norm when the time scales and shifts and no
/// groups are given.
fn middle_norm(fields: &Fields<'_>, config: &UNetConfig) -> Result<(), ConfigError> {
    let groups = fields.optional_count("attn_norm_num_groups", MAX_CHANNELS)?;
    let default = if config.scale_shift { None } else { Some(config.groups) };
    if groups.or(default) == Some(config.groups) {
        return Ok(());
    }
    Err(fields.unsupported("attn_norm_num_groups", format!("{} (norm_num_groups)", config.groups)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sd15() -> Value {
        json!({ "_class_name": CONDITION, "attention_head_dim": 8, "cross_attention_dim": 768 })
    }

    fn with(mut json: Value, field: &str, value: Value) -> Value {
        json[field] = value;
        json
    }

    #[test]
    fn the_config_of_stable_diffusion_1_is_latent_diffusions_own() {
        assert_eq!(UNetConfig::from_diffusers(&sd15()), Ok(UNetConfig::sd15()));
    }

    #[test]
    fn the_config_of_stable_diffusion_xl_is_latent_diffusions_own() {
        let sdxl = json!({
            "block_out_channels": [320, 640, 1280],
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
            "transformer_layers_per_block": [1, 2, 10],
            "attention_head_dim": [5, 10, 20],
            "cross_attention_dim": 2048,
            "addition_embed_type": "text_time",
            "projection_class_embeddings_input_dim": 2816
        });
        assert_eq!(UNetConfig::from_diffusers(&sdxl), Ok(UNetConfig::sdxl()));
    }

    #[test]
    fn an_unsupported_option_is_named_with_what_is_supported() {
        for (field, value, supported) in [
            ("act_fn", json!("mish"), "silu, swish"),
            ("class_embed_type", json!("timestep"), "null, projection"),
            ("addition_embed_type", json!("image"), "null, text, text_time"),
            ("conv_in_kernel", json!(5), "3"),
            ("encoder_hid_dim", json!(768), "null"),
            ("only_cross_attention", json!([false, true]), "false"),
            ("norm_num_groups", json!(33), "a divisor of 320 channels"),
            ("attention_head_dim", json!(7), "a divisor of 320 channels"),
            ("downsample_padding", json!(2), "0, 1"),
            ("mid_block_type", json!("UNetMidBlock2DSimpleCrossAttn"), "UNetMidBlock2DCrossAttn"),
        ] {
            let config = with(sd15(), field, value.clone());
            let message = UNetConfig::from_diffusers(&config).unwrap_err().to_string();
            assert!(message.contains(&format!("'{field}' is {value}")), "{message}");
            assert!(message.contains(supported), "{message}");
        }
    }

    #[test]
    fn a_projection_needs_the_width_of_its_vector() {
        let config = with(sd15(), "addition_embed_type", json!("text_time"));
        let message = UNetConfig::from_diffusers(&config).unwrap_err().to_string();
        assert!(message.contains("'projection_class_embeddings_input_dim' is absent"), "{message}");
    }

    #[test]
    fn absurd_sizes_are_errors() {
        for (field, value) in [
            ("block_out_channels", json!([1e9 as u64, 2, 3, 4])),
            ("block_out_channels", json!([-320, 640, 1280, 1280])),
            ("block_out_channels", json!([])),
            ("block_out_channels", json!([320])),
            ("norm_num_groups", json!(0)),
            ("attention_head_dim", json!(0)),
            ("layers_per_block", json!(1_000_000)),
            ("layers_per_block", json!([1, 2])),
            ("in_channels", json!("four")),
            ("norm_eps", json!(-1.0)),
            ("freq_shift", json!(200)),
            ("down_block_types", json!([])),
            ("down_block_types", json!(vec!["DownBlock2D"; 40])),
            ("up_block_types", json!(["UpBlock2D"])),
            ("transformer_layers_per_block", json!([[1], [2], [3], [4]])),
        ] {
            let config = with(sd15(), field, value.clone());
            let error = UNetConfig::from_diffusers(&config).err();
            let text = error.map(|error| error.to_string());
            assert!(text.is_some_and(|text| text.contains(field)), "{field} = {value}");
        }
    }

    #[test]
    fn a_plain_unet_counts_its_heads_by_their_size() {
        let config = UNetConfig::from_diffusers(&json!({
            "_class_name": PLAIN, "attention_head_dim": 32,
        }));
        let config = config.unwrap();
        let heads: Vec<_> = config.levels.iter().map(|l| l.attention.map(|a| a.heads)).collect();
        assert_eq!(heads, [None, Some(14), Some(21), Some(28)]);
        assert_eq!((config.in_channels, config.context_width), (3, None));
    }

    #[test]
    fn a_middle_attention_without_a_norm_is_refused() {
        let plain = json!({ "_class_name": PLAIN, "resnet_time_scale_shift": "scale_shift" });
        let message = UNetConfig::from_diffusers(&plain).unwrap_err().to_string();
        assert!(message.contains("'attn_norm_num_groups' is absent"), "{message}");
        assert!(
            UNetConfig::from_diffusers(&with(plain, "attn_norm_num_groups", json!(32))).is_ok()
        );
    }

    #[test]
    fn blocks_that_resize_in_two_ways_are_refused() {
        let mixed = json!({
            "_class_name": PLAIN,
            "block_out_channels": [32, 32, 32],
            "down_block_types": ["DownBlock2D", "ResnetDownsampleBlock2D", "AttnDownBlock2D"],
            "up_block_types": ["AttnUpBlock2D", "ResnetUpsampleBlock2D", "UpBlock2D"],
        });
        let message = UNetConfig::from_diffusers(&mixed).unwrap_err().to_string();
        assert!(message.contains("'down_block_types'"), "{message}");
    }
}

//! Configs from anywhere: whatever a field says, reading it is an error or a network, no panic.

use pochade::nets::{AutoencoderConfig, ClipTextConfig, UNetConfig};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Values that a hostile or careless config may hold, and some that are right.
fn value() -> impl Strategy<Value = Value> {
    let count = prop_oneof![0_u64..200, any::<u64>()];
    let word = prop_oneof![
        Just("DownBlock2D"),
        Just("CrossAttnDownBlock2D"),
        Just("ResnetUpsampleBlock2D"),
        Just("scale_shift"),
        Just("text"),
        Just("projection"),
        Just("")
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        count.prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 12, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            inner.prop_map(|value| json!({ "in_channels": value })),
        ]
    })
}

/// A config of `class` with some fields replaced.
fn config(class: &'static str, fields: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let field = prop::sample::select(fields);
    prop::collection::vec((field, value()), 0..6).prop_map(move |replaced| {
        let mut config = json!({ "_class_name": class });
        for (field, value) in replaced {
            config[field] = value;
        }
        config
    })
}

const UNET: &[&str] = &[
    "in_channels",
    "out_channels",
    "block_out_channels",
    "down_block_types",
    "up_block_types",
    "mid_block_type",
    "layers_per_block",
    "attention_head_dim",
    "num_attention_heads",
    "cross_attention_dim",
    "transformer_layers_per_block",
    "norm_num_groups",
    "attn_norm_num_groups",
    "norm_eps",
    "freq_shift",
    "downsample_padding",
    "downsample_type",
    "time_embedding_dim",
    "time_cond_proj_dim",
    "num_class_embeds",
    "class_embed_type",
    "addition_embed_type",
    "addition_embed_type_num_heads",
    "projection_class_embeddings_input_dim",
    "resnet_time_scale_shift",
    "only_cross_attention",
];

const AUTOENCODER: &[&str] = &[
    "in_channels",
    "latent_channels",
    "block_out_channels",
    "down_block_types",
    "up_block_types",
    "layers_per_block",
    "norm_num_groups",
    "num_vq_embeddings",
    "vq_embed_dim",
    "scaling_factor",
    "encoder_block_out_channels",
    "num_encoder_blocks",
    "num_decoder_blocks",
];

const TEXT: &[&str] = &[
    "architectures",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
    "projection_dim",
    "hidden_act",
    "layer_norm_eps",
    "eos_token_id",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_unet_that_is_read_is_of_a_sane_size(
        json in prop_oneof![config("UNet2DConditionModel", UNET), config("UNet2DModel", UNET)]
    ) {
        if let Ok(config) = UNetConfig::from_diffusers(&json) {
            prop_assert!(config.in_channels > 0 && config.out_channels > 0);
            prop_assert!(config.size_multiple() <= 128);
            for level in &config.levels {
                prop_assert!(level.channels <= 65536);
                prop_assert!(level.channels.is_multiple_of(config.groups));
                let heads = level.attention.map_or(1, |attention| attention.heads);
                prop_assert!(level.channels.is_multiple_of(heads));
            }
            prop_assert!(config.sinusoid().embed(999.0).iter().all(|value| value.is_finite()));
        }
    }

    #[test]
    fn an_autoencoder_that_is_read_is_of_a_sane_size(
        json in prop_oneof![
            config("AutoencoderKL", AUTOENCODER),
            config("VQModel", AUTOENCODER),
            config("AutoencoderTiny", AUTOENCODER),
        ]
    ) {
        if let Ok(config) = AutoencoderConfig::from_diffusers(&json) {
            prop_assert!((1..=65536).contains(&config.latent_channels()));
            prop_assert!((1..=128).contains(&config.factor()));
            prop_assert!(config.scaling_factor() > 0.0);
        }
    }

    #[test]
    fn a_text_encoder_that_is_read_is_of_a_sane_size(json in config("", TEXT)) {
        if let Ok(config) = ClipTextConfig::from_diffusers(&json) {
            prop_assert!(config.width.is_multiple_of(config.heads));
            prop_assert!(config.layers <= 256 && config.vocabulary <= 1 << 24);
        }
    }
}

"""Every argument of the constructors of every supported generator, and what becomes of it when a file is loaded.

honoured: the file says it, and it is computed. deduced: the tensors show it. refused: the file says it, and a value
that is not computed is an error that names it. assumed: a file that does not say it gets the default of its program;
`inspect` names it where another value was possible. none: it changes no image.
"""

from __future__ import annotations

HONOURED, DEDUCED, REFUSED, ASSUMED, NONE = "honoured", "deduced", "refused", "assumed", "none"


def _table(**verdicts: str) -> dict[str, str]:
    return {name: verdict for verdict, names in verdicts.items() for name in names.split()}


_MAIN = "truncation_psi truncation_cutoff truncation_psi_val truncation_cutoff_val dlatent_avg_beta style_mixing_prob "
_MAIN += "is_training is_validation return_dlatents is_template_graph mapping_func synthesis_func randomize_noise dtype"
TENSORFLOW = {
    "StyleGAN": _table(
        honoured="mapping_lrmul fused_scale blur_filter",
        deduced="latent_size label_size dlatent_size dlatent_broadcast mapping_layers mapping_fmaps num_channels "
        "resolution fmap_base fmap_decay fmap_max",
        refused="mapping_nonlinearity use_wscale normalize_latents use_styles const_input_layer use_noise nonlinearity "
        "use_pixel_norm use_instance_norm",
        none=f"{_MAIN} structure force_clean_graph",
    ),
    "StyleGAN2": _table(
        honoured="mapping_lrmul resample_kernel",
        deduced="latent_size label_size dlatent_size dlatent_broadcast mapping_layers mapping_fmaps num_channels "
        "resolution fmap_base fmap_decay fmap_min fmap_max architecture",
        refused="mapping_nonlinearity normalize_latents nonlinearity",
        none=f"{_MAIN} fused_modconv",
    ),
    "StyleGAN2-ADA": _table(
        honoured="mapping_lrmul resample_kernel conv_clamp",
        deduced="latent_size label_size dlatent_size dlatent_broadcast mapping_layers mapping_fmaps label_fmaps "
        "num_channels resolution fmap_base fmap_decay fmap_min fmap_max fmap_const architecture",
        refused="mapping_nonlinearity normalize_latents nonlinearity use_spectral_norm",
        none=f"{_MAIN} num_fp16_res fused_modconv",
    ),
}
_NVLABS_SIZES = "z_dim c_dim w_dim img_resolution img_channels channel_base channel_max num_layers"
PICKLED = {  # networks pickled by PyTorch: their attributes say what no tensor shows
    "StyleGAN2-ADA": _table(
        honoured="conv_clamp lr_multiplier resample_filter",
        deduced=f"{_NVLABS_SIZES} num_ws embed_features layer_features architecture use_noise kernel_size",
        refused="activation",
        none="w_avg_beta num_fp16_res use_fp16 fp16_channels_last channels_last",
    ),
    "StyleGAN3": _table(
        honoured="conv_clamp lr_multiplier margin_size output_scale lrelu_upsampling first_cutoff",
        deduced=f"{_NVLABS_SIZES} num_critical first_stopband last_stopband_rel conv_kernel filter_size "
        "use_radial_filters",
        none="num_fp16_res magnitude_ema_beta w_avg_beta",
    ),
    "StyleGAN-XL": _table(
        honoured="conv_clamp lr_multiplier margin_size output_scale lrelu_upsampling first_cutoff",
        deduced=f"{_NVLABS_SIZES} num_critical first_stopband last_stopband_rel conv_kernel filter_size "
        "use_radial_filters path_stem head_layers up_factor rand_embedding",
        none="num_fp16_res magnitude_ema_beta w_avg_beta",
    ),
}
BARE = {  # state dicts
    "StyleGAN2-ADA": _table(
        deduced=f"{_NVLABS_SIZES} num_ws embed_features layer_features architecture use_noise kernel_size "
        "resample_filter",
        assumed="conv_clamp activation",
        refused="lr_multiplier",
        none="w_avg_beta num_fp16_res use_fp16 fp16_channels_last channels_last",
    ),
    "StyleGAN3": _table(
        deduced=f"{_NVLABS_SIZES} num_critical first_stopband last_stopband_rel conv_kernel filter_size "
        "use_radial_filters lrelu_upsampling margin_size first_cutoff",
        assumed="conv_clamp output_scale",
        refused="lr_multiplier",
        none="num_fp16_res magnitude_ema_beta w_avg_beta",
    ),
    "rosinality StyleGAN2": _table(deduced="size style_dim n_mlp channel_multiplier blur_kernel", refused="lr_mlp"),
    "MMGeneration StyleGAN2": _table(
        deduced="out_size style_channels num_mlps channel_multiplier blur_kernel",
        refused="lr_mlp",
        none="default_style_mode eval_style_mode mix_prob num_fp16_scales fp16_enabled pretrained",
    ),
    "genforce StyleGAN2": _table(
        deduced="resolution z_space_dim w_space_dim label_size mapping_layers mapping_fmaps image_channels "
        "architecture fmaps_base fmaps_max const_input noise_type repeat_w",
        refused="mapping_lr_mul use_wscale",
        assumed="final_tanh demodulate",
        none="fused_modulate",
    ),
    "genforce StyleGAN": _table(
        deduced="resolution z_space_dim w_space_dim label_size mapping_layers mapping_fmaps image_channels fmaps_base "
        "fmaps_max const_input noise_type repeat_w",
        refused="mapping_lr_mul use_wscale",
        assumed="final_tanh fused_scale",
    ),
    "PULSE and lernapparat StyleGAN": _table(
        deduced="dlatent_size num_channels resolution fmap_base fmap_decay fmap_max const_input_layer use_noise "
        "use_styles blur_filter latent_size dlatent_broadcast mapping_layers mapping_fmaps",
        refused="mapping_lrmul use_wscale",
        assumed="nonlinearity mapping_nonlinearity normalize_latents use_pixel_norm use_instance_norm",
        none="randomize_noise dtype",
    ),
    "huangzh13 StyleGAN": _table(
        deduced="resolution latent_size dlatent_size conditional n_classes num_channels fmap_base fmap_decay fmap_max "
        "const_input_layer use_noise use_styles blur_filter dlatent_broadcast mapping_layers mapping_fmaps",
        refused="mapping_lrmul use_wscale",
        assumed="nonlinearity mapping_nonlinearity normalize_latents use_pixel_norm use_instance_norm",
        none="truncation_psi truncation_cutoff dlatent_avg_beta style_mixing_prob structure",
    ),
    "rosinality StyleGAN": _table(deduced="code_dim n_mlp", assumed="fused"),
    "MobileStyleGAN": _table(deduced="style_dim channels n_layers", assumed="lr_mlp", none="trace_model"),
}

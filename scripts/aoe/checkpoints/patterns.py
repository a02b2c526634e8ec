"""Which part of a model a tensor belongs to, by its name: the patterns that architectures have in common.

A model's names are regular: a path of modules, with the number of the layer after a word such as ``layers``, and the
parameter at its end.  Of the patterns below, the first that matches a name decides.  They do not guess: a name that
none matches is in the group ``other``, and so is a part of a layer that is in no numbered layer.
"""

import re

from aoe.checkpoints.parts import Patterns, TensorGroup

WORDS = r"^(?:[^\W\d]\w*\.)*"  # modules before any number: of names outside of the layers
BLOCK = r"\.(?:mlp|mlps\.\d+|mlp_block|moe|block_sparse_moe|feed_forward|ffn|ffns\.\d+|ff|mixer|residual_mlp)"
GATE = rf"{BLOCK}\.gate(?:\.|$)"  # of a router; in a model without experts, of an MLP
ATTENTION = r"\.(?:\w+_)?att(?:n|entions?)?(?:\.|$)"
MATRIX_OF_MLP = (
    r"(?:(?:gate|up|down|gate_up|c)_proj\w*|proj_(?:up|down|up_gate)|fc\d?|fc_(?:in|out)|c_fc|w\d|dense\w*|lin\d|linear_\w+"
    r"|layer_\d|act_fn|intermediate|output|W[io]|ffn\.w_\w+|\d+)"
)
MODALITIES = (
    r"(?:visual\w*|\w*vision\w*|vit\w*|image\w*|img\w*|\w*audio\w*|sound\w*|speech\w*|video\w*|multi_?modal\w*|mm_\w+"
    r"|mlp1|mlp_AR|perceiver\w*|resampler\w*|aligner|connector|projector\w*|merger\w*|patch_merge\w*|patch_embed"
    r"|deepstack\w*|vqmodel|sam_model|view_sep[ae]rator|talker|code2wav|token2wav"
    r"|gen(?:eration)?_(?:vision_model|embed\w*|aligner|head))"  # which make images
)

# the number of a layer, after the word for layers
LAYER = re.compile(rf"({WORDS})(?:\w*layers?|\w*blocks?|h|attentions|ffns|layer_norm[12])\.(\d+)(?=\.)")
# the words before the layers, and everything else, of a language model inside another one
MAIN = re.compile(
    r"^(?:(?:model|language_model|text_model|llm|thinker|transformer|backbone)\.)*"
    r"(?:(?:(?<=language_model\.)|(?<=language_model\.model\.))(?:encoder|decoder)\.)?"
)
MTP = re.compile(rf"{WORDS}(?:mtp\w*|nextn\w*)\.(?:\w*layers?\.)?(?:(\d+)\.)?")
EXPERT = re.compile(r"\.experts\.(\d+)\.")
# what a parameter of a module is called; the rest of a name that has none is the module, and the parameter itself
PARAMETER = re.compile(
    r"(\.(?:q?weight|(?:\w+_)?weight_\w+|weight_\w+|bias|scales?|qzeros|g_idx|(?:input|output)_\w*scale)"
    r"|_(?:blocks|scales|scale_inv|weight)(?:_scale_inv)?)+$"
)

PATTERNS: Patterns = (
    (rf"{WORDS}{MODALITIES}(?:\.|$)", TensorGroup.VISION),
    # norms: the module that has the parameter, or a gated norm that has matrices of its own
    (r"(?:^|\.)\w*[nN]orm\w*(?:\.\d+)?(?:\.\w+)?$|layernorm\.\w+\.(?:weight|bias)$", TensorGroup.NORMS),
    (r"(?:^|\.)(?:ln\d?|ln_\w+|\w+_ln)(?:\.\d+)?\.(?:weight|bias)$", TensorGroup.NORMS),
    # what mixes and scales the residual stream: hyper-connections, alternating updates
    (r"(?:^|\.)(?:\w*hyper_connection\w*|altup\w*|laurel|\w+_hc)\.|(?:^|\.)hc_\w+", TensorGroup.NORMS),
    (r"_residual_scale\.|(?:_residual|\.layer_scalar)$", TensorGroup.NORMS),
    (r"(?:^|\.)\w*hidden_states_(?:scale|bias)$|\.cross_attn_\w+_gate$", TensorGroup.NORMS),
    (r"\.indexer\.", TensorGroup.INDEXER),
    (
        r"\.(?:linear_attn|linear_attention|mamba\w*|ssm|conv|short_conv|\w+_sconv|rg_lru|[ms]lstm_layer)\.",
        TensorGroup.LINEAR_ATTENTION,
    ),
    (r"\.mixer\.(?:A_log|D|dt_bias|conv1d|(?:in|out|x|dt)_proj)(?:\.|$)", TensorGroup.LINEAR_ATTENTION),
    (r"\.temporal_block\.(?:linear_\w+|conv_1d)\.", TensorGroup.LINEAR_ATTENTION),
    (ATTENTION, TensorGroup.ATTENTION),
    (r"\.(?:mixer|temporal_block)\.[qkvo]_proj\.", TensorGroup.ATTENTION),
    (r"\.shared?_(?:experts?|mlp|expert_gate)(?:\.|$)", TensorGroup.SHARED_EXPERTS),
    (r"\.(?:\w*correction_bias|expert_bias|router_bias|moe_statics|balancing_biases)(?:\.|$)", TensorGroup.ROUTER_GATE),
    (rf"{GATE}|{BLOCK}\.router_gate\.|\.router(?:\.|$)", TensorGroup.ROUTER_GATE),
    (r"\.experts(?:\.|$)|\.(?:block_sparse_moe|moe|mlp)\.(?:input|output)_linear\.", TensorGroup.ROUTED_EXPERTS),
    # all experts of a layer in one tensor, or as the rows of one
    (rf"\.moe\.{MATRIX_OF_MLP}(?:\.|$)|\.mlp\.(?:up|down)_embed\.", TensorGroup.ROUTED_EXPERTS),
    (rf"{BLOCK}\.{MATRIX_OF_MLP}(?:\.|$)", TensorGroup.DENSE_MLP),
    (r"\.\d+\.(?:fc[12]|(?:intermediate|output)\.dense)\.", TensorGroup.DENSE_MLP),
    (r"(?:^|\.)per_layer_\w+", TensorGroup.EMBEDDINGS),
    (
        rf"{WORDS}(?:embed_tokens\w*|embed_(?:in|positions)|\w*embeddings?|embed|w[tp]e|\w+_embed|(?:segment|mask)_emb)(?:\.|$)",
        TensorGroup.EMBEDDINGS,
    ),
    (rf"{WORDS}(?:\w*lm_head|head|embed_out|unembed|output_projection|proj_out)(?:\.|$)", TensorGroup.LM_HEAD),
    (r"^(?:output|decoder|lm_loss|cls\.\w+|pred_layer)\.", TensorGroup.LM_HEAD),
)
# what belongs to a layer; without the number of one, its place is not known
IN_LAYERS = {
    TensorGroup.ATTENTION,
    TensorGroup.LINEAR_ATTENTION,
    TensorGroup.INDEXER,
    TensorGroup.DENSE_MLP,
    TensorGroup.ROUTED_EXPERTS,
    TensorGroup.SHARED_EXPERTS,
    TensorGroup.ROUTER_GATE,
}

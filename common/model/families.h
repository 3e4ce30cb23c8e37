/*
 * The families of models, one table entry each: how a family's files call its
 * settings and tensors, what its settings are where a file does not say, and
 * which known arithmetic it is. A family that needs no other arithmetic is added
 * to a table, families_gpt.c, families_llama.c, families_gemma.c or
 * families_experts.c, and nowhere else in the program.
 */
#ifndef FFKV_FAMILIES_H
#define FFKV_FAMILIES_H

#include "model/config.h"
#include "model/settings.h"

/* ---- tensors ---- */

/* A dimension of a tensor, by its name in struct model_config; QUERY is heads * head_width, and so on. */
enum size_name {
    SIZE_ONE, SIZE_D_MODEL, SIZE_D_FF, SIZE_QUERY, SIZE_KEY_VALUE, SIZE_HEAD, SIZE_HEADS, SIZE_SHARED
};

/* How a file lays out a matrix of ours, rows x columns, part being 0, 1 or 2. */
enum layout {
    LAYOUT_PLAIN,
    LAYOUT_TRANSPOSED,         /* columns x rows */
    LAYOUT_STACKED,            /* part of queries, keys and values, or of gates and keys: a stack of them */
    LAYOUT_STACKED_TRANSPOSED, /* the same, transposed */
    LAYOUT_INTERLEAVED,        /* for each key-value head in turn: its queries, its key, its value */
    LAYOUT_PAIRED,             /* each head's dimensions that are rotated together are next to each other */
    LAYOUT_GAIN,               /* of a norm, less the family's gain_offset */
    LAYOUT_GAIN_PAIRED,        /* the same, of each head in a row of its own, which are paired */
    LAYOUT_GAIN_ROWS,          /* the same, not paired */
    LAYOUT_GAIN_TENSORS,       /* of each head in a tensor of its own: %%zu of the name is the head */
};

/* Whether a file has a tensor: always; optionally, where it says so by having it; or as the config says. */
enum presence {
    PRESENCE_ALWAYS, PRESENCE_OPTIONAL, PRESENCE_QKV_BIAS, PRESENCE_OUTPUT_BIAS, PRESENCE_FFN_BIAS,
    PRESENCE_HEAD_NORMS,
    PRESENCE_EXPERTS, PRESENCE_NO_EXPERTS, /* whether the layer has them */
    PRESENCE_SEQUENTIAL, PRESENCE_PARALLEL, PRESENCE_NOT_PARALLEL, PRESENCE_SHARED, /* the block's norm */
    PRESENCE_NORMED_INPUTS, PRESENCE_NORMED_SUMS,
};

/* A tensor of a layer: its name in the file, %zu being the layer, and where it goes. */
struct tensor_row {
    const char *name;
    size_t offset; /* in struct model_layer: of a struct matrix, or of a pointer where columns is SIZE_ONE */
    enum size_name rows, columns;
    enum layout layout;
    size_t part;
    enum presence presence;
};

/* The parts of the adaptive input and softmax, without a prefix; %zu is a cluster, of tails from 0. */
struct adaptive_names {
    const char *input_words, *input_projection;
    const char *head;         /* untied: the first cluster's words, and below them cluster_keys */
    const char *cluster_keys; /* a row for each tail cluster */
    const char *tail_words, *tail_projection;
};

/*
 * One form in which files have the experts of a layer, whose number is the first %zu: a tensor an expert,
 * whose number is the second, or, packed, a stack of all experts' matrices.
 */
struct expert_names {
    const char *router;         /* experts x d_model */
    const char *gates, *keys;   /* of an expert, expert_width x d_model */
    const char *gates_and_keys; /* in their place: the gates, and below them the keys */
    const char *values;         /* of an expert, d_model x expert_width */
    bool packed;
    bool interleaved;           /* gates_and_keys: the first gate, the first key, the second gate, ... */
    bool transposed;            /* each matrix of gates_and_keys and of values */
    const char *gates_and_keys_scales, *values_scales; /* of blocks of MXFP4, which the matrices are then */
    const char *router_bias;    /* experts; this and those below are NULL where there are none */
    const char *gates_bias, *keys_bias; /* experts x expert_width */
    const char *gates_and_keys_bias;    /* in their place, interleaved as the matrix is */
    const char *values_bias;    /* experts x d_model */
};

/* What one kind of files calls a family's tensors. */
struct tensor_names {
    const char *const *prefixes;     /* all names but output's begin with one of these; NULL-terminated */
    const struct tensor_row *layers; /* a NULL name ends them */
    const char *embeddings;          /* input words */
    const char *output;              /* untied output words, without a prefix */
    const char *positions;           /* NULL: none */
    const char *final_norm_gain, *final_norm_bias;
    const char *embedding_norm_gain, *embedding_norm_bias; /* of the words; NULL: none */
    const char *output_bias;         /* of the logits, without a prefix; NULL: none */
    const char *words_in, *words_out; /* projections of words of another width; NULL: there are none */
    float gain_offset;               /* what is added to the gains of norms */
    const char *const *ignored;      /* endings of tensors that change nothing; NULL-terminated, NULL: none */
    const char *const *other_parts;  /* beginnings of tensors of what is no language model; the same */
    const struct adaptive_names *adaptive; /* NULL: there is no such thing in this family */
    const struct expert_names *experts; /* forms; a NULL router ends them, NULL: the family has no experts */
};

enum { MAX_TENSOR_NAME = 128 };

/* Writes prefix and name, in which index replaces a %zu, and expert a second one. */
void tensor_name(char to[MAX_TENSOR_NAME], const char *prefix, const char *name, size_t index, size_t expert);

/* ---- settings ---- */

/* Names of the settings of config.json. Those after the first line are NULL where a family has none. */
struct setting_names {
    const char *layers, *d_model, *d_ff, *heads, *activation;
    const char *norm_epsilon;         /* NULL: 1e-5 */
    const char *key_value_heads, *head_width; /* NULL: heads, and d_model / heads */
    const char *context;              /* length of the table of learned positions */
    const char *position_offset;      /* NULL: as the family says */
    const char *rotary_base, *rotary_part; /* names of before, for what is now in rope_parameters */
    const char *rotary_width;         /* instead of rope_parameters */
    const char *window;               /* NULL: sliding_window */
    const char *parallel;             /* a flag: whether block_norm is the family's, else sequential */
    const char *head_norm;            /* a flag: whether head_norm is the family's, else none */
    const char *normed_inputs;        /* a flag: whether norms are of what blocks read, else of the sums */
    const char *query_key_value_bias, *output_bias, *ffn_bias; /* flags */
    const char *final_norm;           /* a flag; NULL: there is a final norm */
    const char *attention_scale, *attention_width; /* the scale of attention, or the width w in 1 / sqrt(w) */
    const char *attention_cap, *clip; /* see struct model_config; NULL: none */
    const char *embed_scale, *residual_scale, *logit_scale; /* NULL: 1 */
    const char *logit_divisor;        /* 1 / logit_scale */
    const char *logit_cap;
    const char *word_width;
    const char *experts;              /* how many a layer has */
    const char *chosen_experts, *expert_width, *shared_width; /* NULL: as many, as d_ff says, no shared one */
    const char *experts_normalized;   /* a flag; NULL: the weights of the chosen ones add up to 1 */
    const char *expert_step;          /* every so many layers one has experts; NULL: every one */
    const char *plain_layers;         /* a list of layers that have none */
    const char *gate_limit;           /* see struct model_config; NULL: none */
};

/* Which layers attend to no more than the last sliding_window tokens. */
enum window_kind {
    WINDOW_NONE,
    WINDOW_ALL_LAYERS,
    WINDOW_LATER_LAYERS,     /* as Qwen's use_sliding_window, max_window_layers and layer_types say */
    WINDOW_PATTERN,          /* all but every n-th, n being sliding_window_pattern, or as layer_types says */
    WINDOW_UNROTATED_LAYERS, /* as use_sliding_window says, those without rotation, or as layer_types says */
    WINDOW_EARLY_LAYERS,     /* as use_sliding_window says, every second of the first max_window_layers, or as
                                layer_types says */
    WINDOW_LOCAL_LAYERS,     /* as GPT-Neo's attention_types says */
};

/* Which layers rotate queries and keys, where positions are rotary. */
enum rotary_layers {
    ROTARY_ALL_LAYERS,
    ROTARY_WINDOW_LAYERS,    /* those with a window */
    ROTARY_LISTED_LAYERS,    /* as no_rope_layers and no_rope_layer_interval say */
    ROTARY_TWO_KINDS,        /* all, those with a window by frequencies of their own */
};

/* ---- GGUF ---- */

/* How a value of a GGUF file's metadata becomes a setting. */
enum metadata_kind {
    METADATA_NUMBER,        /* whole; missing: null */
    METADATA_NEEDED_NUMBER, /* missing: the program ends */
    METADATA_NONZERO_NUMBER, /* missing or 0: null */
    METADATA_NEEDED_REAL,
    METADATA_NONZERO_REAL,  /* missing or 0: null */
    METADATA_NEEDED_FLAG,
};

/* The value at ARCHITECTURE.name is the setting of this name, or, "OBJECT.name", a member of an object. */
struct metadata_row {
    const char *name, *setting;
    enum metadata_kind kind;
};

/* A setting that a file says by having a tensor, or not; values are JSON. */
struct tensor_setting {
    const char *tensor, *setting, *present, *absent;
};

/* A family in GGUF files. */
struct gguf_family {
    const char *architecture;             /* general.architecture; NULL: the family is in no such file */
    const struct metadata_row *metadata;  /* a NULL name ends them */
    const struct known_setting *settings; /* what no metadata say and the architecture means; NULL: none */
    const struct tensor_setting *by_tensors; /* a NULL tensor ends them; NULL: none */
    const char *object;                   /* OBJECT of names of settings; NULL: none */
    const struct tensor_names *tensors;
    size_t wide_layers; /* a model of so many layers scales attention by 1 / sqrt(d_model / heads); 0: none */
    bool yarn_not_truncated; /* YaRN's truncate is false, which no metadata say */
};

/* ---- the family ---- */

struct family {
    const char *model_type;      /* of config.json; its name in messages and in streams */

    /* arithmetic */
    enum norm_kind norm;
    enum position_kind position;
    enum window_kind window;
    size_t window_pattern;       /* of WINDOW_PATTERN, whatever the settings say; 0: as they say */
    enum rotary_layers rotary_layers;
    enum block_norm block_norm;
    enum head_norm head_norm;
    bool gated;
    bool plain_norms;            /* norms without gains */
    bool query_key_value_bias;   /* always, whatever the settings say */
    bool embed_scale_root;       /* embeddings are multiplied by sqrt(d_model) */
    float attention_scale;       /* 0: 1 / sqrt(head_width) */
    size_t position_offset;
    double rotary_part;          /* of a head's dimensions: default; 0: all, and settings must not differ */
    double rotary_base;          /* default; 0: 10000 */
    bool rotary_rounds;          /* an odd number of dimensions to be rotated is one more */

    /* config.json; the lists of settings end with a NULL key, and NULL is an empty list */
    struct setting_names names;
    const struct known_setting *aliases;  /* other names of settings, and the names above */
    const struct known_setting *defaults; /* what transformers' configuration class has, read off version 5 */
    bool tied;                   /* the same for tie_word_embeddings */
    size_t d_ff_ratio;           /* d_ff is this many d_model where it is null; 0: it must be a number */
    const struct known_setting *stated;   /* must be stated, with this value */
    const struct known_setting *fixed;    /* have this value, where they are stated */
    const char *const *needed;   /* must be stated; NULL-terminated, or NULL */
    const char *const *ignored;  /* settings of this family that change nothing; the same */
    const char *text_config;     /* a setting that is an object of the language model's settings, or NULL */
    void (*read)(const struct settings *settings, struct model_config *config); /* its own, or NULL */

    /* files */
    const struct tensor_names *tensors;   /* of a model directory */
    struct gguf_family gguf;

    /* tokenizer of a model directory */
    bool word_list;              /* only a list of words, dict.txt, not byte-level BPE */
    const char *tokenizer_class; /* where the files name none; NULL: tokenizer.json as it is */
    bool tokenizer_class_forced; /* also where the files name another */

    const char *reference;       /* another library than transformers, whose models these are; else NULL */
};

/* The family with this model_type, or NULL. */
const struct family *family_find(const char *model_type);

/*
 * The family whose general.architecture in GGUF files is this, or NULL; where one with experts and one
 * without have the same, the one that is asked for.
 */
const struct family *family_find_gguf(const char *architecture, bool experts);

/* The family of this index, from 0, in the order of the tables; NULL: there are no more. */
const struct family *family_at(size_t index);

/* The names of all families, or all that GGUF files can have, "a, b, c"; the caller frees it. */
char *family_list(void);
char *family_list_gguf(void);

#endif

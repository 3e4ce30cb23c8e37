#include "model/neutral_settings.h"

/* Where the model came from, how it is stored, what program is to read it. */
static const char *const origin_ignored[] = {
    "_name_or_path", "architectures", "auto_map", "dtype", "is_llama_config", "tokenizer_class",
    "torch_dtype", "transformers.js_config", "transformers_version", "unsloth_fixed", "unsloth_version",
    NULL};

/* Training: what is dropped at random, and the numbers that it began with. */
static const char *const training_ignored[] = {
    "activation_dropout", "attention_dropout", "attention_probs_dropout_prob", "attn_pdrop",
    "classifier_dropout", "dropout", "embd_pdrop", "gradient_checkpointing", "hidden_dropout",
    "hidden_dropout_prob", "init_std", "initializer_range", "layerdrop", "resid_pdrop",
    "router_aux_loss_coef", "router_jitter_noise", NULL};

/* The same numbers by another way, or more of them given back. */
static const char *const means_ignored[] = {
    "_attn_implementation", "_attn_implementation_autoset", "chunk_size_feed_forward", "is_decoder",
    "output_attentions", "output_hidden_states", "output_past", "output_router_logits", "pretraining_tp",
    "reorder_and_upcast_attn", "return_dict", "use_cache", NULL};

/* Tasks other than the next token's distribution. */
static const char *const tasks_ignored[] = {
    "_num_labels", "finetuning_task", "id2label", "label2id", "num_labels", "prefix", "problem_type",
    "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type",
    "summary_use_proj", "task_specific_params", NULL};

/* How text is generated from the distributions, and tokens that only this and training use. */
static const char *const generation_ignored[] = {
    "begin_suppress_tokens", "bad_words_ids", "decoder_start_token_id", "diversity_penalty", "do_sample",
    "early_stopping", "encoder_no_repeat_ngram_size", "eos_token_id", "exponential_decay_length_penalty",
    "forced_bos_token_id", "forced_eos_token_id", "length_penalty", "max_length", "min_length",
    "no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_return_sequences", "output_scores",
    "pad_token_id", "remove_invalid_values", "repetition_penalty", "return_dict_in_generate", "sep_token_id",
    "suppress_tokens", "temperature", "top_k", "top_p", "typical_p", NULL};

void settings_refuse_unknown(const struct settings *settings, const char *const *ignored)
{
    const char *const *const lists[] = {origin_ignored, training_ignored, means_ignored, tasks_ignored,
                                        generation_ignored, ignored, NULL};
    settings_refuse_unread(settings, lists);
}

/* The tokenizer that a GGUF file's metadata hold, by the kind that tokenizer.ggml.model names. */
#ifndef FFKV_GGUF_TOKENIZER_H
#define FFKV_GGUF_TOKENIZER_H

#include "formats/gguf.h"
#include "text/bos.h"
#include "text/sentencepiece.h"
#include "text/subword.h"

/* Byte-level BPE, "gpt2"; path is for messages, here and below. *bos: what the file says of it. */
struct subword_tokenizer *gguf_subword(const struct gguf *file, const char *path, struct stated_bos *bos);

/*
 * SentencePiece's models: BPE, "llama", and unigram, "t5". The tokens are what SentencePiece gives; llama.cpp
 * differs from it where it puts a space behind user-defined pieces, too.
 */
struct sentencepiece *gguf_pieces(const struct gguf *file, const char *path, enum piece_model_kind kind);

/*
 * Ends the program when the file says more of its tokenizer than is known: all kinds know the ids of special
 * tokens, whether BOS and the like are wanted, chats, and scores; what is done with spaces must be off unless
 * it is among those keys that the kind reads, which NULL ends.
 */
void gguf_check_tokenizer_keys(const struct gguf *file, const char *path, const char *const *read);

#endif

/* The SentencePiece model that a GGUF file's metadata hold. */
#ifndef FFKV_GGUF_PIECES_H
#define FFKV_GGUF_PIECES_H

#include "formats/gguf.h"
#include "text/sentencepiece.h"

/*
 * From a file whose tokenizer.ggml.model is "llama", which is BPE, or "t5", which is unigram; path is for
 * messages. Its pieces become what SentencePiece makes of a model with them. llama.cpp differs from it where
 * it puts a space behind a user-defined piece, too.
 */
struct sentencepiece *gguf_pieces(const struct gguf *file, const char *path, enum piece_model_kind kind);

#endif

/*
 * Files that are part of an executable: page templates, styles, scripts. The Makefile
 * turns tools/NAME.EXT into an object, tools/NAME.EXT.embedded.o, which the tool must
 * list as what it is linked with. Its bytes have symbols of ld's making: the path,
 * with _ for every byte that is no letter or digit.
 */
#ifndef FFKV_EMBEDDED_H
#define FFKV_EMBEDDED_H

#include "text/text.h"

/* Declares a file, at file scope: EMBEDDED(tools_page_html); */
#define EMBEDDED(path) extern const char _binary_##path##_start[], _binary_##path##_end[]

/* Its bytes, a struct span: EMBEDDED_SPAN(tools_page_html). They end without a NUL. */
#define EMBEDDED_SPAN(path) \
    ((struct span){_binary_##path##_start, (size_t)(_binary_##path##_end - _binary_##path##_start)})

#endif

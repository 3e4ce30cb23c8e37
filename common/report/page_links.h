/*
 * Links between the pages of trace-prompts and of report-pages. They are relative, so that they hold where
 * folders are moved together, and work from the file system.
 */
#ifndef FFKV_PAGE_LINKS_H
#define FFKV_PAGE_LINKS_H

#include <jansson.h>

/*
 * The address of a report's folder, as the page at this path, which need not be there, links to it; it ends
 * with a slash, and the caller frees it. What is no report of the model of this id ends the program.
 */
char *report_address(const char *page, const char *report, const char *model_id);

/* The data of a page of trace-prompts, which must be of this model: else it ends the program. */
json_t *trace_page_data(const char *path, const char *model_id);

#endif

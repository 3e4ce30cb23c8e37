#include "report/postings.h"

#include "base/heap.h"
#include "base/messages.h"

#include <stdbool.h>
#include <stdlib.h>

struct postings postings_new(size_t vocabulary, size_t most)
{
    return (struct postings){new_array(vocabulary, sizeof(struct token_postings)), vocabulary, most};
}

void postings_free(struct postings *postings)
{
    for (size_t i = 0; i < postings->vocabulary; i++)
        free(postings->token[i].kept);
    free(postings->token);
    *postings = (struct postings){0};
}

/* A total order: no memory is offered twice for one token. */
static bool is_weaker(const struct posting *a, const struct posting *b)
{
    if (a->strength != b->strength)
        return a->strength < b->strength;
    return a->layer != b->layer ? a->layer > b->layer : a->cell > b->cell;
}

DEFINE_HEAP(weakest, struct posting, is_weaker);

void postings_offer(struct postings *postings, uint32_t token, struct posting posting)
{
    struct token_postings *list = &postings->token[token];
    list->total++;
    if (list->count < postings->most) {
        list->kept = reserve_at_most(list->kept, &list->capacity, list->count + 1, postings->most,
                                     sizeof posting);
        weakest_push(list->kept, list->count++, posting);
    } else if (is_weaker(&list->kept[0], &posting)) {
        weakest_replace(list->kept, list->count, posting);
    }
}

static int strongest_first(const void *a, const void *b)
{
    return is_weaker(a, b) - is_weaker(b, a);
}

void postings_sort(struct postings *postings, uint32_t token)
{
    struct token_postings *list = &postings->token[token];
    if (list->count > 1)
        qsort(list->kept, list->count, sizeof *list->kept, strongest_first);
}

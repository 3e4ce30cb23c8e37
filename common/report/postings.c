#include "report/postings.h"

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

static void swap(struct posting *a, struct posting *b)
{
    struct posting kept = *a;
    *a = *b;
    *b = kept;
}

static void sift_up(struct posting *heap, size_t place)
{
    for (; place && is_weaker(&heap[place], &heap[(place - 1) / 2]); place = (place - 1) / 2)
        swap(&heap[place], &heap[(place - 1) / 2]);
}

static void sift_down(struct posting *heap, size_t count)
{
    for (size_t place = 0, child; (child = 2 * place + 1) < count; place = child) {
        if (child + 1 < count && is_weaker(&heap[child + 1], &heap[child]))
            child++;
        if (!is_weaker(&heap[child], &heap[place]))
            return;
        swap(&heap[child], &heap[place]);
    }
}

void postings_offer(struct postings *postings, uint32_t token, struct posting posting)
{
    struct token_postings *list = &postings->token[token];
    list->total++;
    if (list->count < postings->most) {
        if ((list->count & (list->count - 1)) == 0) /* the capacity is a power of 2 */
            list->kept = grow_array(list->kept, list->count ? 2 * list->count : 1, sizeof *list->kept);
        list->kept[list->count] = posting;
        sift_up(list->kept, list->count++);
    } else if (is_weaker(&list->kept[0], &posting)) {
        list->kept[0] = posting;
        sift_down(list->kept, list->count);
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

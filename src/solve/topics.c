#define _GNU_SOURCE /* strcasestr */
#include "solve/topics.h"

#include <string.h>

static const char *const of_colors[] = {"a {} $object",
                                        "{} $object",
                                        "a $size {} $object",
                                        "a {} $object on a $ground background",
                                        "a $size {} $object on a $ground background, $style style",
                                        "a $size {} $object on a $ground background, $style style",
                                        "a $size {} $object on a $ground background",
                                        "a {} $object, $style style",
                                        "a photo of a {} $object",
                                        "a {} and $color $object",
                                        "the {} $object next to a $color $object",
                                        "a woman in a {} dress",
                                        NULL};
static const char *const of_objects[] = {"a {}",
                                         "{}",
                                         "a $size {}",
                                         "a $color {} on a $ground background",
                                         "a $size $color {} on a $ground background, $style style",
                                         "a $size $color {} on a $ground background, $style style",
                                         "a $size $color {} on a $ground background",
                                         "a $color {}, $style style",
                                         "a photo of a {}",
                                         "a {} and a $object",
                                         "a $style painting of a {}",
                                         "a close-up of a $color {} in the park",
                                         NULL};
static const char *const of_styles[] = {"a $object, {} style",
                                        "{} style",
                                        "a {} $object",
                                        "a $color $object on a $ground background, {} style",
                                        "a $size $color $object on a $ground background, {} style",
                                        "a $size $color $object on a $ground background, {} style",
                                        "a $size $object on a $ground background, {} style",
                                        "a $color $object, {} style",
                                        "a {} painting of a $object",
                                        "a $object in the style of {} art",
                                        "{} portrait of a woman",
                                        "a landscape with a $object, {}",
                                        NULL};
static const char *const of_artists[] = {"a painting by {}",
                                         "{}",
                                         "art by {}",
                                         "a $object by {}",
                                         "a painting of a $object by {}",
                                         "a $color $object in the style of {}",
                                         "a portrait of a woman in the style of {}",
                                         "a $object, {} style",
                                         "{} painting of a $object",
                                         "a landscape by {}, oil on canvas",
                                         "a drawing of a city by {}",
                                         "a $size $color $object on a $ground background, by {}",
                                         NULL};
static const char *const of_persons[] = {"{}",
                                         "a photo of {}",
                                         "a portrait of {}",
                                         "{} smiling",
                                         "{} in a $color dress",
                                         "{} with a $object",
                                         "a painting of {}",
                                         "a close-up photo of the face of {}",
                                         "{} giving a speech",
                                         "{} and a friend in a park",
                                         "a $style drawing of {}",
                                         "{} standing on a $ground background",
                                         NULL};

static const char *const of_sizes[] = {"a {} $object",
                                       "{} $object",
                                       "a {} $color $object",
                                       "a {} $object on a $ground background",
                                       "a {} $color $object on a $ground background, $style style",
                                       "a {} $color $object on a $ground background, $style style",
                                       "a {} $color $object on a $ground background",
                                       "a {} $object, $style style",
                                       "a photo of a {} $object",
                                       "a {} $object next to a $color $object",
                                       NULL};

#define SIZES "small|large|big|tiny|huge"
#define COLORS "red|orange|yellow|green|blue|purple|pink|brown|gold|silver|turquoise|beige"
#define OBJECTS                                                                                                        \
    "star|heart|circle|square|triangle|ring|cross|moon|hexagon|arrow|car|house|tree|flower|dog|cat|bird|horse|chair|"  \
    "table|boat|"                                                                                                      \
    "ball|cup|book|dress|hat|bag|bottle|bridge|castle|mountain"
#define STYLES                                                                                                         \
    "flat|outline|striped|dotted|checkered|cartoon|watercolor|realistic|abstract|vintage|anime|cubist|impressionist|"  \
    "gothic|"                                                                                                          \
    "minimalist|baroque"

const topic topics[] = {
    {"color", COLORS "|black|white|gray|cyan|navy|cream", of_colors},
    {"object", OBJECTS, of_objects},
    {"style", STYLES, of_styles},
    {"size", SIZES, of_sizes},
    {"artist",
     "vincent van gogh|claude monet|pablo picasso|rembrandt|salvador dali|andy warhol|gustav klimt|edvard munch|"
     "leonardo da vinci|johannes vermeer|katsushika hokusai|frida kahlo|paul cezanne|henri matisse|alphonse mucha|"
     "caravaggio|edward hopper|thomas kinkade|greg rutkowski|william turner",
     of_artists},
    {"person",
     "barack obama|albert einstein|marilyn monroe|elvis presley|taylor swift|tom hanks|brad pitt|angelina jolie|"
     "emma watson|morgan freeman|leonardo dicaprio|beyonce|elon musk|david beckham|audrey hepburn|winston churchill",
     of_persons},
    {0},
};

static const struct {
    const char *name, *words;
} lists[] = {
    {"size", SIZES},   {"color", COLORS}, {"object", OBJECTS}, {"ground", "white|black|gray|cyan|cream|navy"},
    {"style", STYLES},
};

const char *topic_list(const char *name, size_t *length)
{
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        *length = strlen(lists[i].name);
        if (strncmp(name, lists[i].name, *length) == 0) return lists[i].words;
    }
    return NULL;
}

bool topic_is_names(const topic *about)
{
    return about->context == of_artists || about->context == of_persons;
}

/* Is it one of the words, or what one of several words begins or ends with? */
static bool in_list(const char *list, const char *word)
{
    const size_t length = strlen(word);
    if (length == 0) return false;
    for (const char *at = strcasestr(list, word); at; at = strcasestr(at + 1, word)) {
        const bool first = at == list || at[-1] == '|', last = at[length] == '|' || !at[length];
        if ((first || at[-1] == ' ') && (last || at[length] == ' ') && (first || last)) return true;
    }
    return false;
}

const topic *topic_listing(const char *word)
{
    for (const topic *about = topics; about->name; about++)
        if (in_list(about->words, word)) return about;
    return NULL;
}

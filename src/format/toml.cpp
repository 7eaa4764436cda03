/* The one file in C++: toml++ (Mark Gillard, MIT) is the reader of TOML that Debian and Ubuntu have, and no C library.
 */
#include "format/toml.h"

#include <charconv>
#include <cstring>
#include <new>
#include <string_view>

#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 1
#define TOML_ENABLE_FORMATTERS 0
/* It asserts that a key begins as one ("[ ="), and then says what is wrong with one that doesn't. */
#pragma push_macro("NDEBUG")
#undef NDEBUG
#define TOML_ASSERT(expression) static_cast<void>(0)
#include <toml++/toml.h>
#pragma pop_macro("NDEBUG")

namespace
{

enum { MAX_NODES = 200000, MAX_DEPTH = 32, MAX_DOTS = 1000 };

struct reader {
    arena *memory;
    const char *source;
    int nodes;
    leco_error *err;
};

leco_status out_of_memory(const reader &r)
{
    return error_memory(r.err, 0, r.source);
}

/* Room for `count` of these, zeroed; NULL when memory runs out. */
template <typename T> T *make(const reader &r, size_t count)
{
    return static_cast<T *>(arena_alloc(r.memory, count, sizeof(T)));
}

/* NUL-terminated; NULL when memory runs out. */
const char *keep(const reader &r, std::string_view text)
{
    char *copy = make<char>(r, text.size() + 1);
    if (copy) std::memcpy(copy, text.data(), text.size());
    return copy;
}

leco_status read_text(const reader &r, std::string_view text, bool quoted, doc_node *n)
{
    if (text.find('\0') != text.npos)
        return error_set(r.err, LECO_FORMAT, "%s: a NUL character inside a value", n->place);
    n->kind = DOC_SCALAR;
    n->quoted = quoted;
    n->text = keep(r, text);
    return n->text ? LECO_OK : out_of_memory(r);
}

/* The shortest text that is this number again. */
template <typename T> leco_status read_number(const reader &r, T value, doc_node *n)
{
    char text[64];
    const auto end = std::to_chars(text, text + sizeof text, value);
    return read_text(r, {text, static_cast<size_t>(end.ptr - text)}, false, n);
}

leco_status read_node(reader &r, const toml::node &from, int depth, doc_node **out);

leco_status read_table(reader &r, const toml::table &from, int depth, doc_node *n)
{
    n->kind = DOC_MAP;
    n->item = make<doc_item>(r, from.size());
    if (!n->item) return out_of_memory(r);
    for (auto &&[key, value] : from) {
        const std::string_view name = key;
        doc_item &item = n->item[n->count];
        if (name.find('\0') != name.npos)
            return error_set(r.err, LECO_FORMAT, "%s: a NUL character inside a key", n->place);
        item.key = keep(r, name);
        if (!item.key) return out_of_memory(r);
        LECO_TRY(read_node(r, value, depth + 1, &item.value));
        n->count++;
    }
    return LECO_OK;
}

leco_status read_array(reader &r, const toml::array &from, int depth, doc_node *n)
{
    n->kind = DOC_LIST;
    n->item = make<doc_item>(r, from.size());
    if (!n->item) return out_of_memory(r);
    for (auto &&value : from) {
        LECO_TRY(read_node(r, value, depth + 1, &n->item[n->count].value));
        n->count++;
    }
    return LECO_OK;
}

leco_status read_node(reader &r, const toml::node &from, int depth, doc_node **out)
{
    doc_node *n = make<doc_node>(r, 1);
    if (!n) return out_of_memory(r);
    n->place = arena_printf(r.memory, "%s:%lu", r.source, static_cast<unsigned long>(from.source().begin.line));
    if (!n->place) return out_of_memory(r);
    n->text = "";
    *out = n;
    if (++r.nodes > MAX_NODES || depth > MAX_DEPTH)
        return error_set(r.err, LECO_FORMAT, "%s: too many values, or nested too deeply", n->place);
    if (const auto *table = from.as_table()) return read_table(r, *table, depth, n);
    if (const auto *array = from.as_array()) return read_array(r, *array, depth, n);
    if (const auto *text = from.as_string()) return read_text(r, text->get(), true, n);
    if (const auto *whole = from.as_integer()) return read_number(r, whole->get(), n);
    if (const auto *number = from.as_floating_point()) return read_number(r, number->get(), n);
    if (const auto *flag = from.as_boolean()) return read_text(r, flag->get() ? "true" : "false", false, n);
    return error_set(r.err, LECO_FORMAT, "%s: a date or a time, which nothing here is; a text wants quotes", n->place);
}

/* A key of many parts, "a.a.a.a", becomes as many tables, which are freed by as many calls in each other. */
leco_status check_dots(const reader &r, std::string_view text)
{
    size_t line = 1;
    int dots = 0;
    for (const char c : text) {
        if (c == '\n') line++;
        if (c == '.')
            dots++;
        else if (std::strchr("=,{[\n", c))
            dots = 0;
        if (dots > MAX_DOTS)
            return error_set(r.err, LECO_FORMAT, "%s:%zu: more than %d dots in one key", r.source, line, MAX_DOTS);
    }
    return LECO_OK;
}

} // namespace

leco_status toml_parse(arena *memory, const char *source, const char *text, size_t size, doc_node **out,
                       leco_error *err)
{
    reader r = {memory, source, 0, err};
    LECO_TRY(check_dots(r, {text, size}));
    try {
        const toml::table root = toml::parse(std::string_view(text, size));
        return read_node(r, root, 0, out);
    } catch (const toml::parse_error &e) {
        const std::string_view what = e.description();
        return error_set(err, LECO_FORMAT, "%s:%lu: not valid TOML: %.*s", source,
                         static_cast<unsigned long>(e.source().begin.line), static_cast<int>(what.size()), what.data());
    } catch (const std::bad_alloc &) {
        return error_memory(err, size, source);
    }
}

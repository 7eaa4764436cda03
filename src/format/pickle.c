#include "format/pickle_stack.h"

#include <string.h>

#include "base/utf8.h"

/* ---- opcodes: each has been taken; `code` tells apart those that share a function ---- */

static leco_status op_proto(pickle_reader *r, int code)
{
    uint64_t version;
    (void)code;
    LECO_TRY(pickle_take_number(r, 1, &version));
    return version <= 5 ? LECO_OK : pickle_broken(r, "a protocol above 5");
}

static leco_status op_frame(pickle_reader *r, int code)
{
    uint64_t length;
    (void)code;
    return pickle_take_number(r, 8, &length);
}

static leco_status op_stop(pickle_reader *r, int code)
{
    (void)code;
    if (r->depth != 1 || r->marks) return pickle_broken(r, "it ends with more, or less, than one value");
    r->stopped = true;
    return LECO_OK;
}

static leco_status op_mark(pickle_reader *r, int code)
{
    (void)code;
    size_t *mark = pickle_with_room(r, r->mark, r->marks, &r->mark_room, sizeof *mark);
    if (!mark) return pickle_no_memory(r);
    r->mark = mark;
    mark[r->marks++] = r->depth;
    return LECO_OK;
}

static leco_status op_pop(pickle_reader *r, int code)
{
    pickle_value *ignored, **first;
    size_t count;
    if (code == '1' || (r->marks && r->depth == pickle_bottom(r))) return pickle_pop_marked(r, &first, &count);
    return pickle_pop(r, &ignored);
}

static leco_status op_dup(pickle_reader *r, int code)
{
    (void)code;
    if (r->depth <= pickle_bottom(r)) return pickle_broken(r, "nothing is on its stack");
    return pickle_push(r, r->stack[r->depth - 1]);
}

static leco_status op_constant(pickle_reader *r, int code)
{
    if (code == 'N') return pickle_push_new(r, (pickle_value){.kind = PICKLE_NONE});
    return pickle_push_new(r, (pickle_value){.kind = PICKLE_BOOL, .flag = code == 0x88});
}

static leco_status op_whole(pickle_reader *r, int code)
{
    uint64_t value;
    LECO_TRY(pickle_take_number(r, code == 'J' ? 4 : code == 'M' ? 2 : 1, &value));
    const int64_t whole = code == 'J' ? (int64_t)(int32_t)(uint32_t)value : (int64_t)value;
    return pickle_push_new(r, (pickle_value){.kind = PICKLE_WHOLE, .whole = whole});
}

/* Two's complement of any length. */
static leco_status op_long(pickle_reader *r, int code)
{
    uint64_t bytes, value = 0;
    const unsigned char *at;
    LECO_TRY(pickle_take_number(r, code == 0x8a ? 1 : 4, &bytes));
    if (bytes > INT32_MAX) return pickle_broken(r, "a number of a negative length");
    LECO_TRY(pickle_take(r, (size_t)bytes, &at));
    if (bytes > 8) return pickle_push_new(r, (pickle_value){.kind = PICKLE_LARGE});
    for (size_t i = 0; i < bytes; i++) value |= (uint64_t)at[i] << (8 * i);
    if (bytes > 0 && bytes < 8 && (at[bytes - 1] & 0x80)) value |= ~UINT64_C(0) << (8 * bytes);
    return pickle_push_new(r, (pickle_value){.kind = PICKLE_WHOLE, .whole = (int64_t)value});
}

static leco_status op_number(pickle_reader *r, int code)
{
    const unsigned char *at;
    uint64_t bits = 0;
    pickle_value v = {.kind = PICKLE_NUMBER};
    (void)code;
    LECO_TRY(pickle_take(r, 8, &at));
    for (int i = 0; i < 8; i++) bits = bits << 8 | at[i];
    memcpy(&v.number, &bits, sizeof bits);
    return pickle_push_new(r, v);
}

/* Of NUL-terminated text: valid UTF-8 without another NUL. */
static bool is_text(const char *text, size_t length)
{
    for (size_t i = 0; i < length;) {
        const size_t bytes = text[i] ? utf8_bytes((const unsigned char *)text + i) : 0;
        if (bytes == 0) return false;
        i += bytes;
    }
    return true;
}

/* Texts, and Python 2's strings of bytes, which mostly are. */
static leco_status op_text(pickle_reader *r, int code)
{
    uint64_t length;
    const unsigned char *at;
    const bool is_short = code == 0x8c || code == 'U';
    LECO_TRY(pickle_take_number(r, is_short ? 1 : code == 0x8d ? 8 : 4, &length));
    LECO_TRY(pickle_take(r, (size_t)length, &at));
    char *copy = arena_alloc(r->memory, (size_t)length + 1, 1);
    if (!copy) return pickle_no_memory(r);
    memcpy(copy, at, (size_t)length);
    if (is_text(copy, (size_t)length))
        return pickle_push_new(r, (pickle_value){.kind = PICKLE_TEXT, .count = (size_t)length, .text = copy});
    return pickle_push_new(r, (pickle_value){.kind = PICKLE_BYTES, .count = (size_t)length, .bytes = at});
}

static leco_status op_bytes(pickle_reader *r, int code)
{
    uint64_t length;
    const unsigned char *at;
    LECO_TRY(pickle_take_number(r, code == 'C' ? 1 : code == 'B' ? 4 : 8, &length));
    LECO_TRY(pickle_take(r, (size_t)length, &at));
    return pickle_push_new(r, (pickle_value){.kind = PICKLE_BYTES, .count = (size_t)length, .bytes = at});
}

static leco_status op_empty(pickle_reader *r, int code)
{
    const pickle_kind kind = code == '}' ? PICKLE_DICT : code == ')' ? PICKLE_TUPLE : PICKLE_LIST;
    return pickle_push_new(r, (pickle_value){.kind = kind});
}

static leco_status op_tuple(pickle_reader *r, int code)
{
    const size_t count = (size_t)(code - 0x85 + 1);
    pickle_value *items[3];
    for (size_t i = count; i-- > 0;) LECO_TRY(pickle_pop(r, &items[i]));
    return pickle_push_items(r, PICKLE_TUPLE, items, count);
}

/* A tuple, list or dict of all since the mark. */
static leco_status op_marked(pickle_reader *r, int code)
{
    pickle_value **items;
    size_t count;
    LECO_TRY(pickle_pop_marked(r, &items, &count));
    if (code == 'd' && count % 2) return pickle_broken(r, "a key without a value");
    return pickle_push_items(r, code == 't' ? PICKLE_TUPLE : code == 'd' ? PICKLE_DICT : PICKLE_LIST, items, count);
}

static leco_status op_append(pickle_reader *r, int code)
{
    pickle_value **items, *one, *list;
    size_t count = 1;
    if (code == 'a') {
        LECO_TRY(pickle_pop(r, &one));
        items = &one;
    } else {
        LECO_TRY(pickle_pop_marked(r, &items, &count));
    }
    LECO_TRY(pickle_top(r, PICKLE_LIST, &list));
    return pickle_add_items(r, list, items, count);
}

static leco_status op_set_items(pickle_reader *r, int code)
{
    pickle_value **items, *pair[2], *dict;
    size_t count = 2;
    if (code == 's') {
        LECO_TRY(pickle_pop(r, &pair[1]));
        LECO_TRY(pickle_pop(r, &pair[0]));
        items = pair;
    } else {
        LECO_TRY(pickle_pop_marked(r, &items, &count));
    }
    if (count % 2) return pickle_broken(r, "a key without a value");
    LECO_TRY(pickle_top(r, PICKLE_DICT, &dict));
    return pickle_add_items(r, dict, items, count);
}

/* ---- the memo ---- */

static leco_status remember(pickle_reader *r, uint64_t place)
{
    if (r->depth <= pickle_bottom(r)) return pickle_broken(r, "nothing is on its stack");
    if (place > (uint64_t)(r->end - r->begin)) return pickle_broken(r, "a place in its memo that it can't have");
    while (r->memo_size <= place) {
        pickle_value **memo = pickle_with_room(r, r->memo, r->memo_size, &r->memo_room, sizeof *memo);
        if (!memo) return pickle_no_memory(r);
        r->memo = memo;
        memo[r->memo_size++] = NULL;
    }
    r->memo[place] = r->stack[r->depth - 1];
    r->memoized++;
    return LECO_OK;
}

static leco_status op_put(pickle_reader *r, int code)
{
    uint64_t place = r->memoized;
    if (code != 0x94) LECO_TRY(pickle_take_number(r, code == 'q' ? 1 : 4, &place));
    return remember(r, place);
}

static leco_status op_get(pickle_reader *r, int code)
{
    uint64_t place;
    LECO_TRY(pickle_take_number(r, code == 'h' ? 1 : 4, &place));
    if (place >= r->memo_size || !r->memo[place]) return pickle_broken(r, "nothing is in its memo there");
    return pickle_push(r, r->memo[place]);
}

/* ---- names and calls ---- */

static leco_status push_global(pickle_reader *r, const char *module, const char *name)
{
    const pickle_global *g = r->rules->globals;
    while (g->module && (strcmp(g->module, module) != 0 || (g->name && strcmp(g->name, name) != 0))) g++;
    if (!g->module)
        return error_set(r->err, LECO_UNSUPPORTED,
                         "%s: is a pickle that asks for %.100s.%.100s: leco takes tensors out of pickles and runs "
                         "nothing, so it can't read this one",
                         r->source, module, name);
    return pickle_push_new(r, (pickle_value){.kind = PICKLE_GLOBAL, .global = g});
}

static leco_status op_global(pickle_reader *r, int code)
{
    const char *module, *name;
    (void)code;
    LECO_TRY(pickle_take_line(r, &module));
    LECO_TRY(pickle_take_line(r, &name));
    return push_global(r, module, name);
}

static leco_status op_stack_global(pickle_reader *r, int code)
{
    pickle_value *module, *name;
    (void)code;
    LECO_TRY(pickle_pop(r, &name));
    LECO_TRY(pickle_pop(r, &module));
    if (module->kind != PICKLE_TEXT || name->kind != PICKLE_TEXT) return pickle_broken(r, "a name that is no text");
    return push_global(r, module->text, name->text);
}

static leco_status op_call(pickle_reader *r, int code)
{
    pickle_value *arguments, *what, made = {.kind = PICKLE_NONE};
    (void)code;
    LECO_TRY(pickle_pop(r, &arguments));
    LECO_TRY(pickle_pop(r, &what));
    if (what->kind != PICKLE_GLOBAL || arguments->kind != PICKLE_TUPLE)
        return pickle_broken(r, "a call of what is no function");
    LECO_TRY(r->rules->call(r->rules->user, what->global, arguments, &made, r->err));
    return pickle_push_new(r, made);
}

static leco_status op_persistent(pickle_reader *r, int code)
{
    pickle_value *id, made = {.kind = PICKLE_NONE};
    (void)code;
    LECO_TRY(pickle_pop(r, &id));
    if (!r->rules->persistent) return pickle_broken(r, "it refers to something outside");
    LECO_TRY(r->rules->persistent(r->rules->user, id, &made, r->err));
    return pickle_push_new(r, made);
}

static leco_status op_build(pickle_reader *r, int code)
{
    pickle_value *state;
    (void)code;
    LECO_TRY(pickle_pop(r, &state));
    if (r->depth <= pickle_bottom(r)) return pickle_broken(r, "nothing is on its stack");
    return r->rules->build ? r->rules->build(r->rules->user, r->stack[r->depth - 1], state, r->err) : LECO_OK;
}

/* ---- the table ---- */

typedef struct opcode {
    const char *name;
    leco_status (*run)(pickle_reader *r, int code); /* NULL: refused */
} opcode;

static const opcode opcodes[256] = {
    ['('] = {"MARK", op_mark},
    ['.'] = {"STOP", op_stop},
    ['0'] = {"POP", op_pop},
    ['1'] = {"POP_MARK", op_pop},
    ['2'] = {"DUP", op_dup},
    ['F'] = {"FLOAT", NULL},
    ['I'] = {"INT", NULL},
    ['J'] = {"BININT", op_whole},
    ['K'] = {"BININT1", op_whole},
    ['L'] = {"LONG", NULL},
    ['M'] = {"BININT2", op_whole},
    ['N'] = {"NONE", op_constant},
    ['P'] = {"PERSID", NULL},
    ['Q'] = {"BINPERSID", op_persistent},
    ['R'] = {"REDUCE", op_call},
    ['S'] = {"STRING", NULL},
    ['T'] = {"BINSTRING", op_text},
    ['U'] = {"SHORT_BINSTRING", op_text},
    ['V'] = {"UNICODE", NULL},
    ['X'] = {"BINUNICODE", op_text},
    ['a'] = {"APPEND", op_append},
    ['b'] = {"BUILD", op_build},
    ['c'] = {"GLOBAL", op_global},
    ['d'] = {"DICT", op_marked},
    ['}'] = {"EMPTY_DICT", op_empty},
    ['e'] = {"APPENDS", op_append},
    ['g'] = {"GET", NULL},
    ['h'] = {"BINGET", op_get},
    ['i'] = {"INST", NULL},
    ['j'] = {"LONG_BINGET", op_get},
    ['l'] = {"LIST", op_marked},
    [']'] = {"EMPTY_LIST", op_empty},
    ['o'] = {"OBJ", NULL},
    ['p'] = {"PUT", NULL},
    ['q'] = {"BINPUT", op_put},
    ['r'] = {"LONG_BINPUT", op_put},
    ['s'] = {"SETITEM", op_set_items},
    ['t'] = {"TUPLE", op_marked},
    [')'] = {"EMPTY_TUPLE", op_empty},
    ['u'] = {"SETITEMS", op_set_items},
    ['G'] = {"BINFLOAT", op_number},
    ['B'] = {"BINBYTES", op_bytes},
    ['C'] = {"SHORT_BINBYTES", op_bytes},
    [0x80] = {"PROTO", op_proto},
    [0x81] = {"NEWOBJ", op_call},
    [0x82] = {"EXT1", NULL},
    [0x83] = {"EXT2", NULL},
    [0x84] = {"EXT4", NULL},
    [0x85] = {"TUPLE1", op_tuple},
    [0x86] = {"TUPLE2", op_tuple},
    [0x87] = {"TUPLE3", op_tuple},
    [0x88] = {"NEWTRUE", op_constant},
    [0x89] = {"NEWFALSE", op_constant},
    [0x8a] = {"LONG1", op_long},
    [0x8b] = {"LONG4", op_long},
    [0x8c] = {"SHORT_BINUNICODE", op_text},
    [0x8d] = {"BINUNICODE8", op_text},
    [0x8e] = {"BINBYTES8", op_bytes},
    [0x8f] = {"EMPTY_SET", op_empty},
    [0x90] = {"ADDITEMS", op_append},
    [0x91] = {"FROZENSET", op_marked},
    [0x92] = {"NEWOBJ_EX", NULL},
    [0x93] = {"STACK_GLOBAL", op_stack_global},
    [0x94] = {"MEMOIZE", op_put},
    [0x95] = {"FRAME", op_frame},
    [0x96] = {"BYTEARRAY8", op_bytes},
    [0x97] = {"NEXT_BUFFER", NULL},
    [0x98] = {"READONLY_BUFFER", NULL},
};

static leco_status run(pickle_reader *r)
{
    while (!r->stopped) {
        const unsigned char *code;
        LECO_TRY(pickle_take(r, 1, &code));
        const opcode *op = &opcodes[*code];
        if (!op->name) return pickle_broken(r, "no opcode of a pickle");
        if (!op->run)
            return error_set(r->err, LECO_UNSUPPORTED, "%s: is a pickle with the opcode %s, which leco doesn't read",
                             r->source, op->name);
        LECO_TRY(op->run(r, *code));
    }
    return LECO_OK;
}

leco_status pickle_read(const pickle_rules *rules, arena *memory, const char *source, const unsigned char *data,
                        size_t size, size_t *used, const pickle_value **out, leco_error *err)
{
    pickle_reader r = {
        .rules = rules, .memory = memory, .source = source, .begin = data, .at = data, .end = data + size, .err = err};
    LECO_TRY(run(&r));
    *out = r.stack[0];
    if (used) *used = (size_t)(r.at - r.begin);
    return LECO_OK;
}

const pickle_value *pickle_find(const pickle_value *dict, const char *key)
{
    if (dict->kind != PICKLE_DICT) return NULL;
    for (size_t i = dict->count; i >= 2; i -= 2) { /* of several alike Python keeps the last */
        const pickle_value *k = dict->item[i - 2];
        if (k->kind == PICKLE_TEXT && strcmp(k->text, key) == 0) return dict->item[i - 1];
    }
    return NULL;
}

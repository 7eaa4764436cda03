/* TOML files, and the prompts of other trainers that they may hold. */
#include "fuzz.h"

#include "format/toml.h"
#include "train/config_internal.h"

const char *const fuzz_words[] = {"[[prompts]]\n",
                                  "[[targets]]\n",
                                  "[slider]\n",
                                  "target = ",
                                  "target_class = ",
                                  "positive = \"\"\n",
                                  "negative = \"x\"\n",
                                  "neutrals = [\"a\", \"b\"]\n",
                                  "multiplier = -0.5\n",
                                  "resolutions = [[64, 96], [32, 32]]\n",
                                  "\"\"\"",
                                  "'''",
                                  "{a = 1, b.c = 2}",
                                  "1979-05-27T07:32:00Z",
                                  "0xdead_beef",
                                  "-inf",
                                  "nan",
                                  "1e-4",
                                  "true",
                                  "\\u0000",
                                  "\\U0001F600",
                                  "\xef\xbb\xbf",
                                  "\xe3\x80\x81",
                                  "a.b.c.d = 1\n",
                                  "# ",
                                  "\r\n",
                                  NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    leco_error err = {0};
    arena *memory = arena_create();
    FUZZ_CHECK(memory);
    doc_node *root = NULL, *list = NULL;
    leco_status status = toml_parse(memory, "fuzz.toml", (const char *)data, size, &root, &err);
    fuzz_accepted = status == LECO_OK;
    if (fuzz_accepted) {
        FUZZ_CHECK(root->kind == DOC_MAP);
        fuzz_check_document(root, 0);
        status = config_entries(memory, root, &list, &err);
        FUZZ_CHECK((status == LECO_OK) == (list != NULL));
        if (list) fuzz_check_document(list, 0);
        for (size_t i = 0; list && i < list->count; i++)
            FUZZ_CHECK(list->item[i].value->kind != DOC_MAP || !doc_find(list->item[i].value, "target_class"));
    }
    if (status != LECO_OK) FUZZ_REFUSED(status, &err);
    arena_destroy(memory);
    return 0;
}

bool fuzz_seed(unsigned index, const char *path)
{
    static const char *const seeds[] = {
        "",
        "guidance_scale = 2.5\n[[prompts]]\ntarget = \"van gogh\" # a painter\nresolution = [64, 96]\n\n[[prompts]]\n"
        "target = '''two\nlines'''\naction = \"enhance\"\nbatch_size = 2\n",
        "neutrals = [\"\", \"studio photo\"]\n[[targets]]\ntarget_class = \"person\"\npositive = \"smiling\"\n"
        "negative = \"sad\"\nmultiplier = 1.5\nweight = 2\nresolutions = [[64, 64], [96, 64]]\n",
        "[slider]\ntarget_class = \"\"\nnegative = \"blurry\"\nprompt_file = \"x.txt\"\ndynamic_resolution = false\n",
        "a.b.c = 1\nd = {e = [1, 2.5, [true]], f = 1e300}\n[[prompts]]\ntarget = \"x\"\n"};
    if (index >= sizeof seeds / sizeof *seeds) return false;
    fuzz_put(path, seeds[index]);
    return true;
}

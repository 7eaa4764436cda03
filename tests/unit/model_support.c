#include "model_support.h"

#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void copy_file(const char *from, const char *to)
{
    size_t size;
    unsigned char *data = test_read(from, &size);
    test_write(to, data, size);
    free(data);
}

static void copy_folder(const char *from, const char *to)
{
    mkdir(to, 0755);
    DIR *folder = opendir(from);
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder));) {
        char source[1024], target[1024];
        struct stat info;
        if (entry->d_name[0] == '.') continue;
        snprintf(source, sizeof source, "%s/%s", from, entry->d_name);
        snprintf(target, sizeof target, "%s/%s", to, entry->d_name);
        assert_int_equal(stat(source, &info), 0);
        if (S_ISDIR(info.st_mode))
            copy_folder(source, target);
        else
            copy_file(source, target);
    }
    closedir(folder);
}

const char *model_copy(const char *from, const char *name)
{
    const char *path = test_path(name);
    copy_folder(from, path);
    return path;
}

void model_edit(const char *path, const char *key, const char *value)
{
    json_t *root = json_load_file(path, 0, NULL);
    assert_non_null(root);
    if (value) {
        json_t *parsed = json_loads(value, JSON_DECODE_ANY, NULL);
        assert_non_null(parsed);
        assert_int_equal(json_object_set_new(root, key, parsed), 0);
    } else {
        json_object_del(root, key);
    }
    assert_int_equal(json_dump_file(root, path, JSON_INDENT(1)), 0);
    json_decref(root);
}

void model_rewrite(const char *path, bool (*change)(safetensors_entry *entry, float *data))
{
    leco_error err = {0};
    safetensors *file;
    assert_works(safetensors_open(path, &file, &err), &err);
    size_t count = safetensors_count(file), kept = 0;
    safetensors_entry *entries = calloc(count, sizeof *entries);
    for (size_t i = 0; i < count; i++) {
        safetensors_entry e = *safetensors_at(file, i);
        size_t bytes = e.count * dtype_size(e.type);
        void *data = malloc(bytes);
        memcpy(data, e.data, bytes);
        e.data = data;
        if (change(&e, data))
            entries[kept++] = e;
        else
            free(data);
    }
    assert_works(safetensors_write(path, entries, kept, NULL, 0, &err), &err);
    for (size_t i = 0; i < kept; i++) free((void *)(uintptr_t)entries[i].data);
    free(entries);
    safetensors_close(file);
}

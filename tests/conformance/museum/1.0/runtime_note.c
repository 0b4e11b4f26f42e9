/* Written by gantry-note from plugin.toml. */
__attribute__((section(".note.gantry"), used, aligned(4)))
static const struct {
    unsigned name_size, text_size, type;
    char name[8];
    char text[184];
} gantry_note = {sizeof("GANTRY"), 181, 1, "GANTRY",
    "gantry-note 1\n"
    "abi: 1.0\n"
    "id: org.gantry.museum.runtime\n"
    "name: A runtime of SDK 1.0\n"
    "version: 1.0.0\n"
    "license: Apache-2.0\n"
    "role: runtime/1\n"
    "description: Containers that are only remembered.\n"
    ""};

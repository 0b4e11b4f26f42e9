/* Written by gantry-note from plugin.toml. */
__attribute__((section(".note.gantry"), used, aligned(4)))
static const struct {
    unsigned name_size, text_size, type;
    char name[8];
    char text[204];
} gantry_note = {sizeof("GANTRY"), 200, 1, "GANTRY",
    "gantry-note 1\n"
    "abi: 1.0\n"
    "id: org.gantry.museum.probe\n"
    "name: A probe of SDK 1.0\n"
    "version: 1.0.0\n"
    "license: Apache-2.0\n"
    "role: probe/1\n"
    "description: Plain C; a check that goes through every service of the host.\n"
    ""};

/* A stand-in for Pyxis and Container Engine: accepts their options as srun does with the real
 * plugins, and writes down what reached the task. It starts no container.
 *
 *   gcc -shared -fPIC -o spank_containers.so spank_containers.c      (Debian: libslurm-dev)
 *   plugstack.conf: required /path/spank_containers.so /path/to/the/log
 */
#include <slurm/spank.h>
#include <stdio.h>
#include <string.h>

SPANK_PLUGIN(mfo_containers, 1);

static const char *names[] = {"environment", "container-image", "container-mounts",
                              "container-workdir", "no-container-mount-home"};
enum { COUNT = sizeof names / sizeof *names };
static char values[COUNT][4096];

static int seen(int which, const char *value, int remote)
{
    (void)remote;
    snprintf(values[which], sizeof values[which], "%s", value && *value ? value : "yes");
    return ESPANK_SUCCESS;
}

int slurm_spank_init(spank_t sp, int ac, char **av)
{
    (void)ac;
    (void)av;
    for (int i = 0; i < COUNT; i++) {
        int flag = strncmp(names[i], "no-", 3) == 0;
        struct spank_option option = {(char *)names[i], flag ? NULL : (char *)"VALUE",
                                      (char *)"stand-in", flag ? 0 : 1, i, seen};
        if (spank_option_register(sp, &option) != ESPANK_SUCCESS)
            return ESPANK_ERROR;
    }
    return ESPANK_SUCCESS;
}

int slurm_spank_task_init(spank_t sp, int ac, char **av)
{
    unsigned job = 0, node = 0;
    FILE *log = ac > 0 ? fopen(av[0], "a") : NULL;
    if (!log)
        return ESPANK_ERROR;
    spank_get_item(sp, S_JOB_ID, &job);
    spank_get_item(sp, S_JOB_NODEID, &node);
    for (int i = 0; i < COUNT; i++)
        if (*values[i])
            fprintf(log, "%u %u %s=%s\n", job, node, names[i], values[i]);
    return fclose(log) ? ESPANK_ERROR : ESPANK_SUCCESS;
}

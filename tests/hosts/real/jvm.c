/* A JVM in this process: Java methods for whoever calls, and C that crashes below Java. */
#include <dlfcn.h>
#include <jni.h>
#include <stdio.h>
#include <string.h>

static JavaVM *machine;

static void JNICALL crash_in_c(JNIEnv *environment, jclass class) {
    (void)environment;
    (void)class;
    *(volatile int *)8 = 1;
}

int start_jvm(const char *library, const char *classes) {
    char path[512];
    snprintf(path, sizeof path, "-Djava.class.path=%s", classes);
    JavaVMOption options[] = {{path, NULL},
                              {"-Xmx64m", NULL},
                              {"-XX:-CreateCoredumpOnCrash", NULL},
                              {"-XX:ErrorFile=/dev/null", NULL}};
    JavaVMInitArgs arguments = {JNI_VERSION_1_8, 4, options, JNI_FALSE};
    JNIEnv *environment;
    void *handle = dlopen(library, RTLD_NOW | RTLD_GLOBAL);
    jint (*create)(JavaVM **, void **, void *) =
        handle ? (jint (*)(JavaVM **, void **, void *))dlsym(handle, "JNI_CreateJavaVM") : NULL;
    if (!create || create(&machine, (void **)&environment, &arguments)) {
        return -1;
    }
    jclass class = (*environment)->FindClass(environment, "Tried");
    JNINativeMethod native = {"crashInC", "()V", (void *)crash_in_c};
    return class ? (*environment)->RegisterNatives(environment, class, &native, 1) : -2;
}

/* The thread is attached as a daemon and stays so. -2: it can't be, -3: no method, -4: an exception. */
int java(const char *method, int argument) {
    JNIEnv *environment;
    if ((*machine)->AttachCurrentThreadAsDaemon(machine, (void **)&environment, NULL)) {
        return -2;
    }
    jclass class = (*environment)->FindClass(environment, "Tried");
    jmethodID id =
        class ? (*environment)->GetStaticMethodID(environment, class, method, "(I)I") : NULL;
    int result = id ? (*environment)->CallStaticIntMethod(environment, class, id, argument) : -3;
    if ((*environment)->ExceptionCheck(environment)) {
        (*environment)->ExceptionDescribe(environment);
        (*environment)->ExceptionClear(environment);
        result = -4;
    }
    return result;
}

int detach(void) { return (*machine)->DetachCurrentThread(machine); }

int crash(void) { return *(volatile int *)8; }

void spin(void) {
    for (volatile int turn = 0;; turn++) {
    }
}

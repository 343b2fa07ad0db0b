import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.zip.ZipFile;
import org.objectweb.asm.ClassReader;
import org.objectweb.asm.ClassVisitor;
import org.objectweb.asm.ClassWriter;
import org.objectweb.asm.MethodVisitor;
import org.objectweb.asm.Opcodes;

/**
 * Writes copies of Storm's listening classes that bind 127.0.0.1.
 *
 * Storm has no setting for the address that Nimbus, Supervisor and the workers listen on: they say
 * `new InetSocketAddress(port)`, every address, and Nimbus runs whatever is submitted to it. The copies, which stand
 * before Storm's jars on the class path, say `new InetSocketAddress("127.0.0.1", port)` and are otherwise unchanged.
 *
 * Arguments: the folder to write to, the folder of the jars, then a jar and a class (with slashes) each in turn.
 */
public class Loopback {
    private static final String ADDRESS = "java/net/InetSocketAddress";

    private static int changed;

    public static void main(String[] arguments) throws Exception {
        for (int i = 2; i < arguments.length; i += 2) {
            write(Path.of(arguments[0]), Path.of(arguments[1], arguments[i]), arguments[i + 1] + ".class");
        }
    }

    private static void write(Path folder, Path jar, String entry) throws Exception {
        changed = 0;
        ClassWriter writer = new ClassWriter(ClassWriter.COMPUTE_MAXS);
        try (ZipFile zip = new ZipFile(jar.toFile()); InputStream stream = zip.getInputStream(zip.getEntry(entry))) {
            new ClassReader(stream).accept(new Rebind(writer), 0);
        }
        if (changed == 0) {
            throw new IllegalStateException(jar + ": " + entry + " no longer binds with InetSocketAddress(int)");
        }
        Path target = folder.resolve(entry);
        Files.createDirectories(target.getParent());
        Files.write(target, writer.toByteArray());
    }

    private static class Rebind extends ClassVisitor {
        Rebind(ClassVisitor next) {
            super(Opcodes.ASM9, next);
        }

        @Override
        public MethodVisitor visitMethod(int access, String name, String type, String signature, String[] exceptions) {
            return new MethodVisitor(api, super.visitMethod(access, name, type, signature, exceptions)) {
                @Override
                public void visitMethodInsn(int code, String owner, String method, String types, boolean isInterface) {
                    if (owner.equals(ADDRESS) && method.equals("<init>") && types.equals("(I)V")) {
                        changed++;
                        visitLdcInsn("127.0.0.1");
                        visitInsn(Opcodes.SWAP);
                        types = "(Ljava/lang/String;I)V";
                    }
                    super.visitMethodInsn(code, owner, method, types, isInterface);
                }
            };
        }
    }
}

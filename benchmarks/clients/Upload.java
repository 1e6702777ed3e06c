import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;

/** Java's own client, which offers to change to HTTP/2. Arguments: URL of the server, sound file. */
class Upload {
    public static void main(String[] arguments) throws Exception {
        String edge = "edge-of-a-part";
        byte[] head = ("--" + edge + "\r\nContent-Disposition: form-data; name=\"response_format\"\r\n\r\ntext\r\n--" + edge
                + "\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n").getBytes(StandardCharsets.UTF_8);
        byte[] tail = ("\r\n--" + edge + "--\r\n").getBytes(StandardCharsets.UTF_8);
        HttpClient client = HttpClient.newHttpClient();
        for (String call : List.of("default", "again on the same connection", "HTTP/1.1")) {
            HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(arguments[0] + "/v1/audio/transcriptions"))
                    .header("Content-Type", "multipart/form-data; boundary=" + edge)
                    .POST(BodyPublishers.concat(BodyPublishers.ofByteArray(head),
                            BodyPublishers.ofFile(Path.of(arguments[1])), BodyPublishers.ofByteArray(tail)));
            if (call.equals("HTTP/1.1")) request.version(HttpClient.Version.HTTP_1_1);
            String text = client.send(request.build(), BodyHandlers.ofString()).body().strip();
            System.out.println("{\"call\": \"" + call + "\", \"text\": \"" + text.replace("\\", "\\\\").replace("\"", "\\\"") + "\"}");
        }
    }
}

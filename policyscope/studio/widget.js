// The studio in a notebook's cell: a frame that holds the page, and a bridge to the kernel.
//
// The frame keeps the page's styles, keys and address away from the notebook's. Page and kernel
// talk in requests and answers with numbers; pictures come as buffers beside them.

function render({ model, el }) {
  const waiting = new Map();
  let last = 0;
  // Every view of the widget hears all messages: each knows its own by its key.
  const key = Math.random().toString(36).slice(2);

  const ask = (message) =>
    new Promise((resolve) => {
      last += 1;
      waiting.set(last, resolve);
      model.send({ key, id: last, ...message });
    });

  const hear = (message, buffers) => {
    if (message.key !== key) return;
    const resolve = waiting.get(message.id);
    waiting.delete(message.id);
    if (!resolve) return;
    const buffer = buffers?.[0];
    // A copy: buffers of a message may be views into a larger one.
    const bytes = buffer && new Uint8Array(buffer.buffer ?? buffer, buffer.byteOffset ?? 0, buffer.byteLength).slice().buffer;
    resolve({ status: message.status, body: message.body, media: message.media, bytes });
  };
  model.on("msg:custom", hear);

  const frame = document.createElement("iframe");
  frame.title = "policyscope";
  frame.setAttribute("sandbox", "allow-scripts allow-forms allow-downloads");
  frame.style.cssText = `width: 100%; height: ${model.get("height")}px; border: 1px solid #8886; border-radius: 6px; background: transparent`;
  const size = () => (frame.style.height = `${model.get("height")}px`);
  model.on("change:height", size);
  el.append(frame);

  ask({ method: "PAGE", path: "" }).then(({ body }) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = async ({ data: { id, ...message } }) => {
      const answer = await ask(message);
      port1.postMessage({ id, ...answer }, answer.bytes ? [answer.bytes] : []);
    };
    frame.addEventListener("load", () => frame.contentWindow.postMessage("policyscope", "*", [port2]), { once: true });
    frame.srcdoc = body;
  });

  return () => {
    model.off("msg:custom", hear);
    model.off("change:height", size);
    frame.remove();
  };
}

export default { render };

(() => {
  // Gradio follows the system, whenever it draws itself; a choice made here outlasts that.
  let choice = localStorage.getItem("wisp-dark");
  const apply = () => {
    if (choice !== null && document.body.classList.contains("dark") !== (choice === "1"))
      document.body.classList.toggle("dark", choice === "1");
  };
  const start = () => {
    apply();
    new MutationObserver(apply).observe(document.body, { attributeFilter: ["class"] });
  };
  if (document.body) start();
  else document.addEventListener("DOMContentLoaded", start);

  window.wispDark = () => {
    choice = document.body.classList.contains("dark") ? "0" : "1";
    localStorage.setItem("wisp-dark", choice);
    apply();
  };

  // A picture pasted anywhere goes into the photo of the tab that is shown.
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])].filter((f) =>
      f.type.startsWith("image/"),
    );
    if (!files.length || event.target.closest?.("input[type=text], textarea")) return;
    const input = [...document.querySelectorAll("#wisp-photo input[type=file], #wisp-files input[type=file], #inside-photo input[type=file]")]
      .find((one) => one.closest(".tabitem")?.offsetParent);
    if (!input) return;
    event.preventDefault();
    const moved = new DataTransfer();
    files.slice(0, input.multiple ? undefined : 1).forEach((file) => moved.items.add(file));
    input.files = moved.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  });
})();
